"""Live progress of rounds: a panel that redraws on a terminal, one line an event elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Self

import typer

from fedpriv.cli.final_word import contributions, first_line, lost_largest
from fedpriv.coordinator import events
from fedpriv.coordinator.rounds import claim_of
from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, RoundEnded
from fedpriv.plan import candidates_line

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType
    from rich.live import Live

    from fedpriv.coordinator.run_folder import RunFolder
    from fedpriv.model.folder import Claim

STAGE_WORDS = {
    "ADVERTISE": "keys",
    "SHARE": "shares",
    "UPLOAD": "training and masked update",
    "AGREE": "who survived",
    "UNMASK": "unmasking",
    "CLOSE": "receipts",
}


def round_line(over: events.RoundOver) -> str:
    """One line that says how a round ended."""
    ended = over.ended
    seconds = sum(ended.seconds.values())
    if ended.outcome == "failed":
        return f"round {ended.round}: FAILED after {seconds:.1f} s: {ended.reason}"
    cost = "no privacy" if over.epsilon is None else f"epsilon so far {over.epsilon:.3f}"
    return f"round {ended.round}: cohort {' '.join(ended.cohort)}, {seconds:.1f} s, {cost}"


def stage_seconds(run: RunFolder) -> dict[str, float]:
    """Wall seconds of each stage over all rounds of ``run`` so far."""
    total: dict[str, float] = {}
    for line in run.lines():
        if isinstance(line, RoundEnded | ReceiptsAcknowledged):
            for stage, seconds in line.seconds.items():
                total[stage] = total.get(stage, 0.0) + seconds
    return total


def time_line(run: RunFolder) -> str:
    """How the time of the rounds divides; hospitals train in the upload stage, and mask in milliseconds."""
    seconds = stage_seconds(run)
    total = sum(seconds.values())
    masked_sum = total - seconds.get("upload", 0.0)
    share = masked_sum / total if total else 0.0
    return f"rounds took {total:.0f} s: the masked sum {masked_sum:.0f} s ({share:.0%}), training the rest"


def summary_of(run: RunFolder, ended: list[RoundEnded]) -> dict[str, object]:
    """What a script wants to know of ``ended``, the rounds of one command, and of the run so far."""
    privacy = claim_of(run)
    last_stages = {line.round: line for line in run.lines() if isinstance(line, ReceiptsAcknowledged)}
    return {
        "result": first_line(run, ended),
        "lost_largest": lost_largest(run),
        "contributions": contributions(run),
        "run": str(run.folder.resolve()),
        "study": run.study.study.name,
        "rounds_complete": len(run.completed()),
        "epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "unit": privacy.unit,
        "noise": privacy.noise,
        "candidate_success": privacy.candidate_success,
        "seconds": stage_seconds(run),
        "rounds": [
            {
                "round": line.round,
                "outcome": line.outcome,
                "cohort": list(line.cohort),
                "dropped": line.dropped | (last.dropped if last else {}),
                "reason": line.reason,
                "seconds": line.seconds | (last.seconds if last else {}),
            }
            for line in ended
            for last in [last_stages.get(line.round)]
        ],
    }


def claim_lines(claim: Claim) -> list[str]:
    """The privacy claim in words, the line about candidates included."""
    if claim.epsilon is None or claim.candidate_success is None:
        return ["no noise was added: nothing is promised to any " + claim.unit]
    cost = f"epsilon {claim.epsilon:.3f} at delta {claim.delta:g} per {claim.unit}"
    return [
        f"{cost}, {claim.noise} noise, composed over all rounds",
        candidates_line(claim.unit, claim.candidate_success),
    ]


class RoundView(AbstractContextManager["RoundView"]):
    """Shows events on stderr; use as a context manager and pass `show` as the observer."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._started = time.monotonic()
        self._began: events.RoundBegan | None = None
        self._stage = ""
        self._states: dict[str, str] = {}
        self._epsilon: float | None = None
        self._exits = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = self._exits.enter_context(
                Live(console=console, get_renderable=self._panel, refresh_per_second=4, transient=True)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.__exit__(kind, value, traceback)

    def show(self, event: events.Event) -> None:
        """Take note of ``event`` and show what it means."""
        match event:
            case events.Waiting(online=online, absent=absent):
                self._stage = "waiting for hospitals"
                self._states = dict.fromkeys(online, "online") | dict.fromkeys(absent, "absent")
            case events.RoundBegan():
                self._began = event
                self._states = dict.fromkeys(event.hospitals, "invited") | dict.fromkeys(
                    event.absent, "absent"
                )
            case events.StageBegan(stage=stage, asked=asked):
                self._stage = STAGE_WORDS[stage.name]
                self._states |= dict.fromkeys(asked, "asked")
            case events.HospitalAnswered(name=name):
                self._states[name] = "answered"
            case events.HospitalDropped(name=name, reason=reason):
                self._states[name] = f"out: {reason}"
                self._print(
                    f"round {event.round}: {name} is out at {STAGE_WORDS[event.stage.name]}: {reason}"
                )
            case events.RoundOver(epsilon=epsilon):
                self._epsilon = epsilon
                self._print(round_line(event))

    def _print(self, line: str) -> None:
        if self._quiet:
            return
        if self._live:
            self._live.console.print(line, highlight=False)
        else:
            typer.echo(line, err=True)

    def _panel(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table

        table = Table("hospital", "state")
        for name, state in sorted(self._states.items()):
            table.add_row(name, state)
        began, elapsed = self._began, time.monotonic() - self._started
        if began is None:
            return Group(self._stage or "connecting", table)
        spent = "-" if self._epsilon is None else f"{self._epsilon:.3f}"
        left = ""
        if began.position > 1:
            seconds = elapsed / (began.position - 1) * (began.count - began.position + 1)
            left = f", about {seconds:.0f} s left"
        return Group(
            f"round {began.round} ({began.position} of {began.count}): {self._stage}",
            table,
            f"epsilon so far {spent}, {elapsed:.0f} s{left}",
        )
