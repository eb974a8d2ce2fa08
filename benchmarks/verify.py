"""How long an auditor waits: `fedpriv audit verify` on a bundle of many rounds, in a process of its own.

    PYTHONPATH=tests python benchmarks/verify.py [--rounds 100] [--hospitals 5] [--out measured/verify.json]

The bundle is of a run in memory: real homes, journals, keys and machines of both sides; only training is
planted. Every hospital's journal is in it, and noise is shared: epsilon is composed for every coalition.
Times are of the command from its start to its exit, Python's own start included: wall, and CPU seconds of all
its threads, which other processes do not blur. *start* is the same command on a file that is no bundle.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from support.memory import PARAMETERS, MemoryFederation
from support.studies import DISTRIBUTED, FULL_BATCH, small_study

from fedpriv.coordinator.bundle import write_bundle
from fedpriv.node.export import export_for
from fedpriv.node.hospital import Hospital, Prepared

START_LIMIT_S = 1.0
VERIFY_LIMIT_S = 30.0


class PlantedSum:
    """Integers in place of training."""

    parameters = PARAMETERS

    def train(self, vector: np.ndarray) -> np.ndarray:
        """The same values, whatever the model."""
        return np.full(vector.size, 1 << 23, dtype=np.int64)


def bundle_of(folder: Path, rounds: int, hospitals: int) -> Path:
    """Run so many rounds with so many hospitals under ``folder``; the path of their bundle."""
    names = [f"hospital-{number:03d}" for number in range(hospitals)]
    declared = "".join(f"{name} = 100\n" for name in names)
    study = small_study(
        ("A = 100\nB = 80\nC = 60\n", declared),
        ("rounds = 4", f"rounds = {rounds}"),
        ("epsilon = 8.0", "epsilon = 1e6"),
        ("smallest_cohort = 2", f"smallest_cohort = {hospitals - 1}"),
        FULL_BATCH,
        *DISTRIBUTED,
    )
    federation = MemoryFederation(folder, study)
    for member in federation.members.values():
        prepared = Prepared(PlantedSum(), register=bytes(32))
        member.node = Hospital(member.home, member.journal, lambda _study, prepared=prepared: prepared)
    coordinator = federation.coordinator()
    for number in range(1, rounds + 1):
        if coordinator.run_round(number, rounds).outcome != "complete":
            raise SystemExit(f"round {number} failed")
        print(f"\rround {number} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    federation.close()
    journals = {
        name: export_for(member.home, federation.run.run) for name, member in federation.members.items()
    }
    return write_bundle(federation.run, federation.roster, federation.operator, journals)


def timed(*words: str, code: int) -> tuple[float, float, str]:
    """Wall and CPU seconds of one command, and what it printed; stop unless it exits with ``code``."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "fedpriv", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise SystemExit(
            f"fedpriv {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}"
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--hospitals", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = bundle_of(Path(folder) / "federation", options.rounds, options.hospitals)
        size = path.stat().st_size
        nothing = Path(folder) / "nothing"
        nothing.touch()
        starts = [timed("audit", "verify", str(nothing), code=2) for _ in range(5)]
        verifications = [timed("audit", "verify", str(path), code=0) for _ in range(3)]
    claims = verifications[0][2].splitlines()[-1]
    found = {
        "rounds": options.rounds,
        "hospitals": options.hospitals,
        "bundle_bytes": size,
        "claims": claims,
        "start_wall_s": min(wall for wall, _, _ in starts),
        "start_cpu_s": min(cpu for _, cpu, _ in starts),
        "verify_wall_s": min(wall for wall, _, _ in verifications),
        "verify_cpu_s": min(cpu for _, cpu, _ in verifications),
    }
    for name, value in found.items():
        print(f"{name:<14} {value if isinstance(value, int | str) else f'{value:.2f}'}")
    print(f"under {START_LIMIT_S:g} CPU s to start: {found['start_cpu_s'] < START_LIMIT_S}")
    print(f"under {VERIFY_LIMIT_S:g} CPU s to verify: {found['verify_cpu_s'] < VERIFY_LIMIT_S}")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
