"""The fault matrix: one cell is one fault, at one stage, of one process; what it came to against the table.

A fault strikes at an event of the coordinator, just before the requests of a stage leave, and heals at
another, when the rounds that it may spoil are over. Nothing here waits for a length of time, but for faults
that are a length of time.
"""

import contextlib
import re
import signal
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec
from support.fault_kinds import ENDS_THE_COMMAND, FAULTS, RESTARTS, end
from support.faulty import DEADLINES

from fedpriv.coordinator.run_folder import RoundEnded, RoundStarted, open_run
from fedpriv.secagg.messages import Stage

TABLE = Path(__file__).parent.parent / "faults" / "matrix.toml"
VICTIM = "B"
LATE_S = 3.0
"""How far beyond its deadline a stage may end: a last look, on a busy machine."""


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
            with spoil(federation, cell.who, VICTIM):
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
        end(federation.processes[VICTIM])
        self._undo.callback(federation.bring_up, VICTIM)
        spoiled = spoil(federation, "node", VICTIM)
        self._undo.enter_context(spoiled)
        since = federation.length(VICTIM)
        if cell.stop is None:
            federation.bring_up(VICTIM)
            self._undo.callback(end, federation.processes[VICTIM])
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
