"""Many rounds with random faults: what holds at the end, and what each process's memory did.

    PYTHONPATH=tests python benchmarks/soak.py [--out FILE] [--rounds 200] [--seed 1]

The faults and their moments are drawn from ``--seed`` and printed first. Afterwards every journal, every
sum, the budget and the bundle with all journals must verify. Memory is the resident set of each process at
the end of each round; growth is counted from the 20th round of its life, for lives of at least 60 rounds.
Needs root, for network namespaces and small disks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from support.fault_kinds import FAULTS
from support.faulty import FaultyFederation, faulty_study, missing

from fedpriv.coordinator.bundle import write_bundle
from fedpriv.coordinator.run_folder import RoundEnded, open_run
from fedpriv.secagg.messages import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

PARAMETERS = 1_000
WARM_ROUNDS, SHORTEST_LIFE = 20, 60
MOST_GROWTH = 0.05
FAULTY_SHARE = 0.2
OF_A_NODE = ("SIGKILL", "SIGSTOP", "cut", "delay", "loss", "disk full", "clock a day ahead")
OF_ALL_LINES = ("delay", "loss")
LASTS_S = {"superlink": 2.0}


class Fault(NamedTuple):
    """What strikes whom, at which stage of a round; ``hospital`` is whose node it is, if it is a node."""

    who: str
    name: str
    stage: str
    hospital: str = ""


def drawn(rounds: int, seed: int, hospitals: Sequence[str]) -> dict[int, Fault]:
    """Round position -> its fault; the coordinator and the SuperLink are killed once each."""
    generator = random.Random(seed)  # a schedule to be repeated
    plan: dict[int, Fault] = {}
    stages = [stage.name.lower() for stage in Stage]
    for position in range(2, rounds):
        if generator.random() < FAULTY_SHARE:
            who = generator.choice(["node", "node", "node", "coordinator", "superlink"])
            names = {"node": OF_A_NODE, "coordinator": OF_ALL_LINES, "superlink": ("SIGSTOP",)}[who]
            hospital = generator.choice(hospitals) if who == "node" else ""
            plan[position] = Fault(who, generator.choice(names), generator.choice(stages), hospital)
    plan[rounds // 5] = Fault("superlink", "SIGKILL", generator.choice(stages))
    plan[rounds // 4] = Fault("coordinator", "SIGKILL", generator.choice(stages))
    return plan


def words(fault: Fault) -> str:
    """Such as "node A, SIGKILL, upload"."""
    return f"{fault.who}{' ' * bool(fault.hospital)}{fault.hospital}, {fault.name}, {fault.stage}"


class Soak:
    """One federation, its schedule, and the memory of its processes round by round."""

    def __init__(self, federation: FaultyFederation, plan: dict[int, Fault]) -> None:
        self.memory: dict[str, list[int]] = {}
        self.struck: list[str] = []
        self.begun = 0
        self._federation = federation
        self._plan = plan
        self._undo = contextlib.ExitStack()
        self._began = time.monotonic()

    def run(self, rounds: int) -> None:
        """Run commands until so many rounds were begun, then let everything heal."""
        while self.begun < rounds:
            before = self.begun
            outcome = self._federation.rounds(
                "--count", str(rounds - self.begun), observe=self._observe, limit_s=3_600.0
            )
            self._undo.close()
            print(f"a command ended with {outcome.exit_code}: {outcome.said.strip()[-300:]}", flush=True)
            if self.begun == before:
                raise SystemExit(f"no round was begun: {outcome.said}")

    def growth(self) -> dict[str, dict[str, float]]:
        """For each process that lived long: bytes after its 20th round, the most after that, the growth."""
        found = {}
        for name, sizes in self.memory.items():
            if len(sizes) >= SHORTEST_LIFE:
                warm, most = sizes[WARM_ROUNDS - 1], max(sizes[WARM_ROUNDS:])
                found[name] = {
                    "rounds": len(sizes),
                    "warm_bytes": warm,
                    "most_bytes": most,
                    "growth": round(most / warm - 1, 4),
                }
        return found

    def _observe(self, event: dict[str, Any], command: subprocess.Popen[str]) -> None:
        if event["event"] == "RoundBegan":
            self.begun += 1
        if event["event"] == "StageBegan":
            fault = self._plan.get(self.begun)
            if fault is not None and fault.stage == Stage(event["stage"]).name.lower():
                del self._plan[self.begun]
                self.struck.append(f"round {event['round']}: {words(fault)}")
                context = FAULTS[fault.name](self._federation, fault.who, command, fault.hospital)
                if fault.who in LASTS_S and fault.name == "SIGSTOP":
                    with context:
                        time.sleep(LASTS_S[fault.who])  # the fault is a length of time
                else:
                    self._undo.enter_context(context)
        if event["event"] == "RoundOver":
            self._undo.close()
            self._note_memory(command)
            took = time.monotonic() - self._began
            ended = event["ended"]
            print(f"{self.begun} ({took:.0f} s): round {ended['round']} {ended['outcome']}", flush=True)

    def _note_memory(self, command: subprocess.Popen[str]) -> None:
        processes = {name: child.pid for name, child in self._federation.processes.items()}
        processes["rounds"] = command.pid
        processes["superlink"] = self._federation.superlink.pid
        for name, pid in processes.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                size = psutil.Process(pid).memory_info().rss
                self.memory.setdefault(f"{name} ({pid})", []).append(size)


def verify(federation: FaultyFederation) -> tuple[int, str]:
    """Exit code and last words of `fedpriv audit verify` for the bundle with every journal."""
    run, home = open_run(federation.run.folder), federation.coordinator
    bundle = write_bundle(run, home.roster(), home.identity(), federation.exports(run.run))
    command = [sys.executable, "-m", "fedpriv", "audit", "verify", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()[-500:]


def main() -> int:
    """0 if everything verifies and no process grew by 5 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if reason := missing():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    study = faulty_study(2 * options.rounds)
    plan = drawn(options.rounds, options.seed, sorted(study.hospitals))
    print(f"seed {options.seed}: {len(plan)} faults in {options.rounds} rounds")
    for position, fault in sorted(plan.items()):
        print(f"  round {position} of {options.rounds}: {words(fault)}")
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as place,
        FaultyFederation.make(Path(place) / "federation", study, parameters=PARAMETERS) as federation,
    ):
        federation.start()
        soak = Soak(federation, plan)
        soak.run(options.rounds)
        federation.stop()
        problems = federation.problems()
        code, said = verify(federation)
        ended = [line for line in open_run(federation.run.folder).lines() if isinstance(line, RoundEnded)]
    growth = soak.growth()
    report = {
        "seed": options.seed,
        "rounds": soak.begun,
        "complete": sum(line.outcome == "complete" for line in ended),
        "failed": [f"round {line.round}: {line.reason}" for line in ended if line.outcome == "failed"],
        "cut_short": soak.begun - len(ended),
        "faults": soak.struck,
        "problems": problems,
        "audit_verify": {"exit_code": code, "said": said},
        "memory": growth,
        "wall_s": round(time.monotonic() - began),
    }
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    grew = [name for name, found in growth.items() if found["growth"] >= MOST_GROWTH]
    return 1 if problems or code or grew else 0


if __name__ == "__main__":
    sys.exit(main())
