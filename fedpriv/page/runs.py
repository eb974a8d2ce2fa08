"""What operators and auditors may read of a coordinator's runs: never more than its record says already.

The page itself knows no coordinator. Whoever starts it hands in a function that gives the runs, newest
first, as plain records.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from fedpriv.plan import Spent

_WIDTH, _HEIGHT = 640, 240
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 12, 16, 40
_GRID_LINES = 4


@dataclass(frozen=True, slots=True)
class Round:
    """One round as recorded; ``outcome`` is complete, failed, or open where no end was recorded.

    ``cohort`` is who is in its sum, ``dropped`` says why somebody is not, ``seconds`` is its wall time.
    """

    number: int
    outcome: str
    reason: str
    cohort: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run. ``course`` is epsilon over charged rounds, empty without noise or before any charge.

    ``allowed`` is the study's epsilon for all ``planned`` rounds. ``report`` is the auditor's report in the
    run's folder, if somebody put one there.
    """

    name: str
    study: str
    began: datetime | None
    hospitals: tuple[str, ...]
    planned: int
    rounds: tuple[Round, ...]
    unit: str
    noise: str
    delta: float
    allowed: float
    course: tuple[Spent, ...]
    model_digest: str | None
    report: Path | None

    @property
    def completed(self) -> int:
        """How many rounds were complete."""
        return sum(one.outcome == "complete" for one in self.rounds)

    @property
    def failed(self) -> int:
        """How many rounds ended without a sum, or in nothing that was recorded."""
        return len(self.rounds) - self.completed

    @property
    def epsilon(self) -> float | None:
        """What is spent so far."""
        return self.course[-1].epsilon if self.course else None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder among the runs whose record cannot be read; ``message`` is for its operator."""

    name: str
    message: str


RunSource: TypeAlias = "Callable[[], tuple[Run | Unreadable, ...]]"


@dataclass(frozen=True, slots=True)
class Tick:
    """A number on an axis and where it stands, in units of the drawing."""

    label: float
    at: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Epsilon over charged rounds, ready to be drawn; coordinates count from the upper left corner."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    path: str
    dots: tuple[tuple[float, float], ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    allowed: Tick


def chart_of(run: Run) -> Chart | None:
    """The course of ``run`` as a line; None if there is none."""
    if not run.course:
        return None
    most_rounds = max(run.planned, run.course[-1].rounds)
    most_epsilon = 1.1 * max(run.allowed, run.course[-1].epsilon)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def across(rounds: float) -> float:
        return round(_LEFT + width * rounds / most_rounds, 1)

    def down(epsilon: float) -> float:
        return round(_TOP + height * (1 - epsilon / most_epsilon), 1)

    points = tuple((across(spent.rounds), down(spent.epsilon)) for spent in run.course)
    return Chart(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        bottom=_HEIGHT - _BOTTOM,
        path=" ".join(f"{x},{y}" for x, y in ((across(0), down(0)), *points)),
        dots=points,
        rows=tuple(Tick(value, down(value)) for value in _ticks(most_epsilon)),
        columns=tuple(Tick(value, across(value)) for value in _ticks(most_rounds, least_step=1)),
        allowed=Tick(run.allowed, down(run.allowed)),
    )


def _ticks(most: float, least_step: float = 0.0) -> list[float]:
    """From 0 on in steps of 1, 2 or 5 times a power of ten: four of them or a few more, if they fit."""
    power = 10.0 ** math.floor(math.log10(most / _GRID_LINES))
    step = max(factor * power for factor in (1, 2, 5) if most / (factor * power) >= _GRID_LINES)
    step = max(step, least_step)
    return [number * step for number in range(math.floor(most / step) + 1)]
