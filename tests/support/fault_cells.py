"""The fault matrix: one cell is one fault, at one stage, of one process; what it came to against the table.

A fault strikes at an event of the coordinator, just before the requests of a stage leave, and heals at
another, when the rounds that it may spoil are over. Nothing here waits for a length of time, but for faults
that are a length of time.
"""

import contextlib
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
from support.faulty import DEADLINES
from support.rosters import sealed

from fedpriv.coordinator.run_folder import RoundEnded, RoundStarted, open_run
from fedpriv.identity.enrolment import collect, new_request
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import dump_roster
from fedpriv.secagg.messages import Stage

TABLE = Path(__file__).parent.parent / "faults" / "matrix.toml"
VICTIM = "B"
LATE_S = 3.0
"""How far beyond its deadline a stage may end: a last look, on a busy machine."""

_DAY_S = 86_400


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table; see the words at its top."""

    who: str
    fault: str
    stages: str | list[str]
    rounds: list[str]
    drop: str = ""
    stop: int | list[int] | None = None
    says: str = ""
    exit: int = 0
    lasts_s: float | None = None
    answer_s: float = DEADLINES.answer_s
    test: list[str] = []


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    early: list[str]
    late: list[str]
    cell: list[Cell]


@dataclass(frozen=True)
class Case:
    """One cell at one stage."""

    cell: Cell
    stage: str

    @property
    def name(self):
        """Such as "node, SIGKILL, upload"."""
        lasts = f" for {self.cell.lasts_s:g} s" if self.cell.lasts_s else ""
        return f"{self.cell.who}, {self.cell.fault}{lasts}, {self.stage}"

    @property
    def in_tests(self):
        """Whether `make test` runs it."""
        return self.stage in self.cell.test


def cases():
    """Every cell of the table at every one of its stages."""
    table = msgspec.convert(tomllib.loads(TABLE.read_text()), Table)
    names = {"early": table.early, "late": table.late, "all": table.early + table.late}
    return [
        Case(cell, stage)
        for cell in table.cell
        for stage in (names[cell.stages] if isinstance(cell.stages, str) else cell.stages)
    ]


class Trial:
    """Runs one case on a running federation; afterwards `problems` says what is not as the table says."""

    def __init__(self, federation, case):
        self.federation, self.case, self.cell = federation, case, case.cell
        self.problems = []
        self.wall_s = 0.0
        self._struck = False
        self._over = 0
        self._undo = contextlib.ExitStack()

    def run(self):
        """Strike, heal, and hold everything against the table."""
        federation, cell = self.federation, self.cell
        federation.set_deadlines(msgspec.structs.replace(DEADLINES, answer_s=float(cell.answer_s)))
        known = len(open_run(federation.run.folder).lines())
        began = time.monotonic()
        try:
            outcomes = self._rounds()
        finally:
            self._undo.close()
            self.wall_s = time.monotonic() - began
        lines = open_run(federation.run.folder).lines()[known:]
        self._check_rounds(lines)
        self._check_words(outcomes)
        self.problems += federation.problems()

    # The course of events.

    def _rounds(self):
        """The commands that were run, in order."""
        federation, cell = self.federation, self.cell
        count = len(cell.rounds)
        outcomes = [federation.rounds("--count", str(count), observe=self._observe)]
        if not self._struck:
            self.problems.append("the fault never struck")
        if cell.who != "coordinator" or cell.fault not in ENDS_THE_COMMAND:
            return outcomes
        spoil = RESTARTS.get(cell.fault)
        if spoil:
            with spoil(federation, cell.who):
                outcomes.append(federation.rounds("--count", "1"))
        self._undo.close()
        return [*outcomes, federation.rounds("--count", "1")]

    def _observe(self, event, command):
        begun = Stage(event["stage"]).name.lower() if event["event"] == "StageBegan" else ""
        if begun == self.case.stage and not self._struck:
            self._struck = True
            self._strike(command)
        if event["event"] == "RoundOver" and self._struck:
            self._over += 1
            if self._over == len(self.cell.rounds) - 1:
                self._undo.close()

    def _strike(self, command):
        federation, cell = self.federation, self.cell
        if cell.who == "node" and cell.fault in RESTARTS:
            self._restart_node(RESTARTS[cell.fault])
        elif cell.who == "coordinator" and cell.fault in RESTARTS:
            command.kill()
        else:
            fault = FAULTS[cell.fault](federation, cell.who, command, VICTIM)
            if cell.lasts_s:
                fault.__enter__()
                timer = threading.Timer(cell.lasts_s, fault.__exit__, (None, None, None))
                timer.start()
                self._undo.callback(timer.join)
            else:
                self._undo.enter_context(fault)

    def _restart_node(self, spoil):
        """Kill B and start it on what ``spoil`` left; heal by starting it again as it was."""
        federation, cell = self.federation, self.cell
        _end(federation.processes[VICTIM])
        self._undo.callback(federation.bring_up, VICTIM)
        spoiled = spoil(federation, "node")
        self._undo.enter_context(spoiled)
        since = federation.length(VICTIM)
        if cell.stop is None:
            federation.bring_up(VICTIM)
            self._undo.callback(_end, federation.processes[VICTIM])
            return
        federation.start_node(VICTIM)
        code = federation.processes[VICTIM].wait(40)
        said = federation.said(VICTIM, since)
        self._hold(code in _codes(cell.stop), f"the node ended with {code}: {said}")
        self._hold(re.search(cell.says, said), f"the node said: {said}")

    # What is held against the table.

    def _hold(self, right, otherwise):
        if not right:
            self.problems.append(otherwise)

    def _check_rounds(self, lines):
        ended = {line.round: line for line in lines if isinstance(line, RoundEnded)}
        started = [line.round for line in lines if isinstance(line, RoundStarted)]
        became = [_became(ended.get(number)) for number in started]
        lost = [line.dropped for line in ended.values()]
        self._hold(became == self.cell.rounds, f"rounds became {became}, not {self.cell.rounds}: {lost}")
        for line in lines:
            for stage, seconds in getattr(line, "seconds", {}).items():
                limit = DEADLINES.training_s if stage == "upload" else self.cell.answer_s
                self._hold(seconds <= limit + LATE_S, f"{stage} took {seconds} s, its deadline is {limit} s")
        if self.cell.drop and started:
            said = [
                line.dropped.get(VICTIM, "") for line in lines if getattr(line, "dropped", None) is not None
            ]
            self._hold(
                any(re.search(f"{self.case.stage}: ({self.cell.drop})", words) for words in said),
                f"the record says of {VICTIM}: {said}",
            )

    def _check_words(self, outcomes):
        cell, first, last = self.cell, outcomes[0], outcomes[-1]
        codes = [outcome.exit_code for outcome in outcomes]
        for outcome in outcomes:
            self._hold("Traceback" not in outcome.said, f"a traceback: {outcome.said}")
            if outcome.summary is not None:
                rounds = outcome.summary["rounds"]
                complete = sum(entry["outcome"] == "complete" for entry in rounds)
                words = f"{complete} of {len(rounds)} rounds complete"
                self._hold(words in outcome.summary["result"], f"it says {outcome.summary['result']!r}")
                self._hold((outcome.exit_code == 0) == (complete == len(rounds)), f"exit codes {codes}")
            elif outcome.exit_code == 0:
                self.problems.append("exit 0 without a word")
        if len(outcomes) == 1:
            self._hold(first.exit_code == cell.exit, f"exit {codes}: {first.said}")
            return
        self._hold(last.exit_code == 0, f"exit {codes}: {last.said}")
        middle = outcomes[-2]  # that which met what is broken
        expected = _codes(cell.stop) if cell.stop is not None else [cell.exit or -signal.SIGKILL]
        self._hold(middle.exit_code in expected, f"exit {codes}: {middle.said}")
        self._hold(re.search(cell.says, middle.said), f"it said: {middle.said}")


def _became(line):
    if line is None:
        return "cut short"
    if line.outcome == "failed":
        return "failed"
    return "without B" if VICTIM not in line.cohort else "all" if len(line.cohort) == 3 else "?"


def _codes(stop):
    return stop if isinstance(stop, list) else [stop]


def _end(process):
    process.kill()
    process.wait()


# Faults of running processes: each a context, struck on entering and healed on leaving.


@contextlib.contextmanager
def _killed(federation, who, command, victim):
    if who == "node":
        _end(federation.processes[victim])
        yield
        federation.bring_up(victim)
    elif who == "coordinator":
        command.kill()
        yield
    elif who == "superlink":
        federation.superlink.kill()
        yield
    else:
        superlink = federation.superlink
        _end(federation.processes["coordinator"])
        superlink.wait(30)
        federation.start_coordinator()
        yield


@contextlib.contextmanager
def _stopped(federation, who, command, victim):
    process = {
        "node": lambda: federation.processes[victim],
        "coordinator": lambda: command,
        "door": lambda: federation.processes["coordinator"],
        "superlink": lambda: federation.superlink,
    }[who]()
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


def _on_the_line(**changes):
    @contextlib.contextmanager
    def spoiled(federation, who, _command, victim):
        wires = [federation.wires[victim]] if who == "node" else list(federation.wires.values())
        for line in wires:
            for name, value in changes.items():
                setattr(line, name, value)
        yield
        for line in wires:
            line.heal()
        for line in wires:
            federation.wait_for_traffic(line)

    return spoiled


def _empty_log(database):
    """Move what SQLite has in the write-ahead log of ``database`` into it, and cut the log to nothing."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.contextmanager
def _full_disk(federation, who, _command, victim):
    folder = federation.home_of(who, victim)
    if who == "superlink":  # a long log has room for many rounds
        _empty_log(folder / "state.sqlite")
    federation.fill_disk(folder)
    yield
    federation.empty_disk(folder)


@contextlib.contextmanager
def _noise_for_state(federation, who, _command, victim):
    """Kill the SuperLink; its keeper, stopped meanwhile, finds all pages but the first overwritten."""
    door, state = (
        federation.processes["coordinator"],
        federation.home_of(who, victim) / "state.sqlite",
    )
    door.send_signal(signal.SIGSTOP)
    superlink = federation.superlink
    superlink.kill()
    while superlink.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    _empty_log(state)
    with state.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(range(1, 256)) * (state.stat().st_size // 255))
    door.send_signal(signal.SIGCONT)
    yield


def _clock(shift_s):
    @contextlib.contextmanager
    def shifted(federation, who, _command, victim):
        name = victim if who == "node" else "coordinator"
        names = [name] if who == "node" else list(federation.nodes)
        since = {each: federation.length(each) for each in names}
        federation.set_clock(name, shift_s)
        yield
        federation.set_clock(name, 0)
        for each in names:
            if "does not" in federation.said(each, since[each]) or "is not" in federation.said(
                each, since[each]
            ):
                federation.wait_for(each, "connected to", since[each])

    return shifted


FAULTS = {
    "SIGKILL": _killed,
    "SIGSTOP": _stopped,
    "cut": _on_the_line(cut=True),
    "delay": _on_the_line(delay_s=0.1),
    "loss": _on_the_line(loss=0.1),
    "disk full": _full_disk,
    "clock a day ahead": _clock(_DAY_S),
    "clock a day behind": _clock(-_DAY_S),
    "corrupted journal": _noise_for_state,
}


# Faults of what a process finds when it starts: each a context in which it is so.


@contextlib.contextmanager
def _read_only(federation, who):
    """Read-only for whoever opens a file now; the door, which stays, goes on with what it has open."""
    folder = federation.home_of(who, VICTIM)
    subprocess.run(["mount", "--rbind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", folder], check=True)


@contextlib.contextmanager
def _corrupted(federation, who):
    if who == "node":
        path = federation.home_of(who, VICTIM) / "journal.sqlite"
        _empty_log(path)
        needle = b'"kind":"'
    else:
        path, needle = federation.run.folder / "rounds.jsonl", b'"round"'
    backup = federation.study_path.parent / "backup"
    shutil.copy(path, backup)
    content = bytearray(path.read_bytes())
    at = content.index(needle) + 2
    content[at] ^= 1
    path.write_bytes(bytes(content))
    try:
        yield
    finally:
        shutil.copy(backup, path)
        backup.unlink()


@contextlib.contextmanager
def _wrong_roster(federation, who):
    path = federation.home_of(who, VICTIM) / "roster.toml"
    right = path.read_text()
    identities = [node.identity() for name, node in federation.nodes.items() if name != "C"]
    identities.append(new_identity("C"))
    requests = [new_request(identity) for identity in identities]
    wrong = collect(federation.study.study.name, federation.coordinator.operator(), requests)
    path.write_text(dump_roster(sealed(wrong, federation.coordinator.identity(), *identities)))
    try:
        yield
    finally:
        path.write_text(right)


RESTARTS = {"read-only home": _read_only, "corrupted journal": _corrupted, "wrong roster": _wrong_roster}
ENDS_THE_COMMAND = {"SIGKILL", "disk full", *RESTARTS}
