"""From a privacy target to a noise multiplier, with what else the same noise would allow.

The plan is for the study's whole course: all rounds, all steps, composed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fedpriv.dp.accounting import (
    PrivacyEvent,
    candidate_success,
    composed_epsilon,
    epsilon_course,
    noise_multiplier_for,
    sampled_curve,
)
from fedpriv.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.study import Study

CANDIDATES = 100
_FACTORS = (0.5, 1.0, 2.0)
_GROUPS = (2, 5, 10)
_MOST_POINTS = 20


@dataclass(frozen=True, slots=True)
class Alternative:
    """The epsilon that another length or another sampling would spend under the planned noise."""

    rounds: int
    sampling_probability: float
    epsilon: float


@dataclass(frozen=True, slots=True)
class Spent:
    """The epsilon that so many rounds spend."""

    rounds: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Group:
    """The epsilon of a patient with so many ``images``, all together, where an image is the unit."""

    images: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Coalition:
    """The epsilon that is left against ``colluders`` hospitals which tell what noise they added.

    It counts only survivors: every dropout that the study tolerates is missing. One colluder is also what any
    single hospital is, since it knows its own share.
    """

    colluders: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The noise a study needs and what it then claims; ``epsilon_rdp`` is the second, looser accountant's.

    ``course`` tells how epsilon grows to the last round, ``curve`` the deltas of other epsilons after it, as
    pairs (epsilon, delta). ``groups`` is empty where a patient is the unit. ``coalitions`` is empty unless
    noise is distributed: noise of its own protects a hospital against all.
    ``candidate_success``: the most often that an attacker who knows everything except one unit, and has
    narrowed it to 100 candidates, picks the right one.
    """

    noise_multiplier: float
    epsilon: float
    epsilon_rdp: float
    delta: float
    candidate_success: float
    alternatives: tuple[Alternative, ...]
    groups: tuple[Group, ...]
    coalitions: tuple[Coalition, ...]
    course: tuple[Spent, ...]
    curve: tuple[tuple[float, float], ...]


def plan(study: Study) -> Plan:
    """The smallest noise that keeps ``study`` within its epsilon and delta.

    StudyError if no noise does. A noise multiplier that the study has already is not looked at.
    """
    privacy, training = study.privacy, study.training
    if math.isinf(privacy.epsilon):
        noise_multiplier = 0.0
    else:
        try:
            noise_multiplier = noise_multiplier_for(
                privacy.epsilon, privacy.delta, training.sampling_probability, study.steps
            )
        except ValueError as error:
            raise StudyError(f"the study {study.study.name} cannot be planned: {error}") from error
    event = PrivacyEvent(noise_multiplier, training.sampling_probability, study.steps)
    epsilon = composed_epsilon([event], privacy.delta)
    return Plan(
        noise_multiplier=noise_multiplier,
        epsilon=epsilon.pld,
        epsilon_rdp=epsilon.rdp,
        delta=privacy.delta,
        candidate_success=candidate_success([event], CANDIDATES),
        alternatives=_alternatives(study, noise_multiplier),
        groups=_groups(study, event),
        coalitions=coalitions(study.with_noise_multiplier(noise_multiplier), study.training.rounds),
        course=course([replace(event, steps=training.local_steps)] * training.rounds, privacy.delta),
        curve=sampled_curve([event]),
    )


def coalitions(study: Study, rounds: int) -> tuple[Coalition, ...]:
    """What ``rounds`` of a planned study cost against nobody, one, as many as are tolerated, all others."""
    if study.privacy.noise != "distributed":
        return ()
    shares, whole = study.noise_shares, study.cost_of(rounds)
    sizes = sorted({0, 1, shares.colluders, shares.hospitals - 1})
    events = [replace(whole, noise_multiplier=shares.multiplier_against(size)) for size in sizes]
    return tuple(
        Coalition(size, composed_epsilon([event], study.privacy.delta).pld)
        for size, event in zip(sizes, events, strict=True)
    )


def course(rounds: Sequence[PrivacyEvent], delta: float) -> tuple[Spent, ...]:
    """How epsilon grows over ``rounds``: at 20 of them at most, evenly spaced, the last one included."""
    points = min(len(rounds), _MOST_POINTS)
    counts = [round(len(rounds) * point / points) for point in range(1, points + 1)]
    return tuple(map(Spent, counts, epsilon_course(rounds, delta, counts)))


def candidates_line(unit: str, success: float) -> str:
    """The claim in words that a hospital's board can weigh."""
    return (
        f"an attacker who knows everything except one {unit} and has narrowed it to "
        f"{CANDIDATES} candidates picks the right one at most {100 * success:.3g} % of the time "
        f"(guessing: {100 / CANDIDATES:g} %)"
    )


def _alternatives(study: Study, noise_multiplier: float) -> tuple[Alternative, ...]:
    rounds = sorted({max(1, round(study.training.rounds * factor)) for factor in _FACTORS})
    probabilities = sorted({min(1.0, study.training.sampling_probability * factor) for factor in _FACTORS})
    return tuple(
        Alternative(
            count,
            probability,
            composed_epsilon(
                [PrivacyEvent(noise_multiplier, probability, count * study.training.local_steps)],
                study.privacy.delta,
            ).pld,
        )
        for count, probability in itertools.product(rounds, probabilities)
    )


def _groups(study: Study, event: PrivacyEvent) -> tuple[Group, ...]:
    if study.privacy.unit != "image":
        return ()
    return tuple(
        Group(size, composed_epsilon([event], study.privacy.delta, group_size=size).pld) for size in _GROUPS
    )
