"""What a run's evidence comes to in numbers, as plain records; every one is computed anew, none is copied.

Epsilon and delta are for adding or removing one unit, composed over all rounds that somebody may have been
charged for. Nothing here is rounded or put into words.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.audit.report.participation import Participation, participation_of
from fedpriv.dp.accounting import candidate_success, composed_epsilon, group_event, privacy_curve
from fedpriv.plan import CANDIDATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.audit.evidence import JournalEvidence, RunEvidence
    from fedpriv.audit.verify import Verdict
    from fedpriv.dp.accounting import Epsilon, PrivacyEvent
    from fedpriv.plan import Coalition
    from fedpriv.study import Study

_COURSE_POINTS = 25
"""Rounds after which epsilon is computed; each point of a sampled mechanism takes a fifth of a second."""

_CURVE_POINTS = 121
_CURVE_REACH = 1.5
"""The curve ends at so many times the claimed epsilon, or further out where less than that is claimed."""

_SHORTEST_CURVE = 1.0
_GROUPS = (2, 5, 10)
_FALSE_ALARM_RATES = tuple(
    sorted({*(10.0 ** (power / 25) for power in range(-100, 1)), *(k / 50 for k in range(51))})
)
"""So close that a line through the points, which lies below the true one, cannot be told from it."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What the first ``charged`` charged rounds cost; ``round`` is the number of the last of them."""

    round: int
    charged: int
    epsilon: Epsilon


@dataclass(frozen=True, slots=True)
class Curve:
    """Delta at each epsilon, ascending: the whole privacy loss distribution of the run."""

    epsilons: tuple[float, ...]
    deltas: tuple[float, ...]

    def highest_hit_rate(self, false_alarms: float) -> float:
        """The most often that somebody who was in is told from nobody, at this rate of false alarms.

        1 - f(alpha), f(alpha) = max over epsilon of max(1 - delta - e^epsilon alpha,
        e^-epsilon (1 - delta - alpha), 0). *Source*: Dong, Roth and Su 2022, proposition 2.5.
        """
        miss = max(
            max(1 - delta - math.exp(epsilon) * false_alarms, math.exp(-epsilon) * (1 - delta - false_alarms))
            for epsilon, delta in zip(self.epsilons, self.deltas, strict=True)
        )
        return 1 - max(0.0, miss)

    @property
    def hit_rates(self) -> tuple[tuple[float, float], ...]:
        """(false alarms, highest hit rate), the trade-off that the curve leaves to an attacker."""
        return tuple((rate, self.highest_hit_rate(rate)) for rate in _FALSE_ALARM_RATES)


@dataclass(frozen=True, slots=True)
class Group:
    """What is left of the claim for somebody of whom so many ``units`` are there."""

    units: int
    epsilon: float
    candidate_success: float


@dataclass(frozen=True, slots=True)
class CohortNoise:
    """Noise multipliers (standard deviation over clip norm) in the sums of one cohort, ``rounds`` of them.

    ``opened`` is in each sum, the others are what is left of it before one hospital, which knows its own
    share, before the planned colluders, and before all hospitals but one. ``due``: what the claim rests on.
    """

    hospitals: tuple[str, ...]
    rounds: int
    opened: float
    before_one: float
    before_colluders: float
    before_all_others: float
    due: float

    @property
    def enough(self) -> bool:
        """Whether the planned colluders face at least the noise that was charged, but for float rounding."""
        return self.before_colluders >= self.due or math.isclose(self.before_colluders, self.due)


@dataclass(frozen=True, slots=True)
class Facts:
    """All numbers of a report. ``groups`` is empty where the unit is a patient."""

    charged: int
    complete: int
    failed: int
    spent: Epsilon
    candidate_success: float
    course: tuple[Spent, ...]
    curve: Curve
    coalitions: tuple[Coalition, ...]
    groups: tuple[Group, ...]
    cohorts: tuple[CohortNoise, ...]
    participation: Participation

    @property
    def private(self) -> bool:
        """Whether anything is promised at all."""
        return math.isfinite(self.spent.pld)


def facts_of(run: RunEvidence, journals: Sequence[JournalEvidence], verdict: Verdict) -> Facts | None:
    """Compute them all; None if the verdict is that nothing can be said of the run's cost."""
    if verdict.spent is None:
        return None
    study, spent = run.study, verdict.spent
    whole = study.cost_of(run.charged)
    complete = sum(ended.outcome == "complete" for ended in run.ended)
    return Facts(
        charged=run.charged,
        complete=complete,
        failed=len(run.started) - complete,
        spent=spent,
        candidate_success=candidate_success([whole], CANDIDATES),
        course=_course(run),
        curve=_curve(whole, spent.pld),
        coalitions=verdict.coalitions,
        groups=_groups(study, whole),
        cohorts=_cohorts(run),
        participation=participation_of(run, journals, verdict.charged),
    )


def _course(run: RunEvidence) -> tuple[Spent, ...]:
    numbers = run.charged_rounds
    if not numbers:
        return ()
    counts = sorted(
        {round(count) for count in np.linspace(1, len(numbers), min(len(numbers), _COURSE_POINTS))}
    )
    return tuple(
        Spent(
            numbers[count - 1], count, composed_epsilon([run.study.cost_of(count)], run.study.privacy.delta)
        )
        for count in counts
    )


def _curve(event: PrivacyEvent, epsilon: float) -> Curve:
    reach = max(_SHORTEST_CURVE, _CURVE_REACH * epsilon) if math.isfinite(epsilon) else _SHORTEST_CURVE
    epsilons = np.linspace(0.0, reach, _CURVE_POINTS)
    deltas = privacy_curve([event], epsilons)
    return Curve(tuple(map(float, epsilons)), tuple(map(float, deltas)))


def _groups(study: Study, event: PrivacyEvent) -> tuple[Group, ...]:
    if study.privacy.unit != "image":
        return ()
    return tuple(
        Group(
            size,
            composed_epsilon([event], study.privacy.delta, group_size=size).pld,
            candidate_success([group_event(event, size)], CANDIDATES),
        )
        for size in _GROUPS
    )


def _cohorts(run: RunEvidence) -> tuple[CohortNoise, ...]:
    complete = [ended.cohort for ended in run.ended if ended.outcome == "complete"]
    return tuple(
        _noise_of(run.study, cohort, rounds)
        for cohort, rounds in sorted(Counter(complete).items(), key=lambda item: (-item[1], item[0]))
    )


def _noise_of(study: Study, cohort: tuple[str, ...], rounds: int) -> CohortNoise:
    due = study.noise_multiplier
    if (
        study.privacy.noise != "distributed"
    ):  # each hospital's own noise faces everybody, whoever else was there
        return CohortNoise(cohort, rounds, due, due, due, due, due)
    shares, size = study.noise_shares, len(cohort)
    opened, before_one, before_colluders, before_all_others = (
        shares.multiplier_of(count) if count > 0 else 0.0
        for count in (size, size - 1, size - shares.colluders, min(size, 1))
    )
    return CohortNoise(cohort, rounds, opened, before_one, before_colluders, before_all_others, due)
