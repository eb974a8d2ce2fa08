"""The one-run audit: a thousand canaries, each in by a fair coin, and how well the run tells which were.

The canaries go through the real path: sampling, clipping, noise, rounding, the code of the ring, and the
coordinator's step. Their network is the auditor's (`networks.canary_network`): each moves weights of its own,
so every canary is as visible as the clip norm allows, and none hides another. Whoever watches sees every
round, which is what the claim is made against.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from fedpriv.audit.attack.networks import canary_network
from fedpriv.audit.attack.one_run_bound import (
    ERROR,
    epsilon_ceiling,
    epsilon_lower_bound,
    planned_guesses,
)
from fedpriv.audit.attack.row import Role, Row
from fedpriv.audit.attack.training_run import run, seen_together
from fedpriv.audit.bench import Records
from fedpriv.dp.accounting import composed_epsilon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fedpriv.study import Study

CANARIES = 1_000
_FAULT = 0.25
"""The share of the noise that a faulty run has, as a positive control."""

_STEEP = 4.0
"""Gradients are over three clip norms long, so clipping always shows."""

_LEARNING_RATE = 1e-3
"""So small that the model hardly learns the canaries, whose gradients would shrink."""

_BITS = 32
_LEVELS = 2**16
"""Integers to a clip norm where noise is shared, which grows with them: fine enough for 5,000 canaries."""

_NOISE_ROOM = 16
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """``right`` of ``guesses`` on ``canaries``; ``by_coins`` of the same guesses fit coins not used."""

    canaries: int
    guesses: int
    right: int
    by_coins: int


def one_run(study: Study, *, canaries: int = CANARIES) -> Iterator[Row]:
    """Rows of the audit of ``study``: a quarter of its noise, its own noise, no canaries, chance."""
    delta = study.privacy.delta
    claim = claimed_epsilon(study)
    guesses = fixed_guesses(study, canaries)
    ceiling = epsilon_ceiling(canaries, guesses, delta=delta)
    faulty = play(study.with_noise_multiplier(_FAULT * study.noise_multiplier), canaries, guesses)
    own = play(study, canaries, guesses)
    for subject, role, right in (
        (f"run with {_FAULT:g} of the noise", Role.CONTROL, faulty.right),
        ("run as planned", Role.SUBJECT, own.right),
        ("the same guesses, other coins", Role.REFERENCE, own.by_coins),
        ("chance", Role.REFERENCE, guesses // 2),
    ):
        bound = epsilon_lower_bound(canaries, guesses, right, delta=delta)
        yield Row(
            attack=f"one-run, {study.privacy.noise} noise",
            subject=subject,
            role=role,
            observed=f"{right} of {guesses} guesses right: epsilon >= {bound:.2f}, claimed {claim:.2f}",
            power=f"epsilon {ceiling:.2f}",
            holds=bound > claim if role is Role.CONTROL else bound <= claim,
            figures={
                "canaries": canaries,
                "guesses": guesses,
                "right": right,
                "epsilon_lower_bound": bound,
                "epsilon_ceiling": ceiling,
                "epsilon_claimed": claim,
                "confidence": 1 - ERROR,
                "delta": delta,
            },
        )


def claimed_epsilon(study: Study) -> float:
    """What the whole study costs by its own numbers, at its own delta."""
    return composed_epsilon([study.cost_of(study.training.rounds)], study.privacy.delta).pld


def fixed_guesses(study: Study, canaries: int) -> int:
    """How many guesses to make: planned on the fault that is to be found, before anything is run."""
    separation = study.training.sampling_probability * math.sqrt(study.steps) / study.noise_multiplier
    return planned_guesses(canaries, separation / _FAULT, delta=study.privacy.delta)


def play(study: Study, canaries: int, guesses: int) -> Outcome:
    """Flip coins, run the audited form of ``study`` on the canaries that are in, and guess."""
    size = max(16, math.ceil(math.sqrt(canaries / _CHANNELS)))
    audited = _audited(study, canaries, size)
    hospitals = seen_together(audited)
    classes = len(audited.study.classes)
    generator = np.random.default_rng()
    coins, unused = generator.random((2, canaries)) < 1 / 2
    labels = generator.integers(classes, size=canaries)
    steps = run(
        audited,
        _lit(audited, np.flatnonzero(coins), labels, len(hospitals)),
        hospitals,
        canary_network(size, classes),
    )
    scores = _scores([progress.vector.astype(np.float64) for progress in steps], labels, classes)
    order = np.argsort(scores)
    out, inside = order[: guesses // 2], order[-(guesses // 2) :]
    return Outcome(
        canaries,
        guesses,
        right=int(coins[inside].sum() + (~coins[out]).sum()),
        by_coins=int(unused[inside].sum() + (~unused[out]).sum()),
    )


def _scores(
    vectors: list[NDArray[np.float64]], labels: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """How far each canary's own weights went the way it pushes, over all rounds.

    Canary i pushes along one-hot(label) less what the model says of it, in the weights of its value alone.
    """
    places = np.arange(len(labels))
    total = np.zeros(len(labels))
    for before, after in itertools.pairwise(vectors):
        moved = (after - before).reshape(-1, classes)[places]
        push = np.full((len(labels), classes), -1.0 / classes)
        push[places, labels] += 1.0
        total += np.sum(moved * push, axis=1)
    return total


def _lit(study: Study, inside: NDArray[np.int64], labels: NDArray[np.int64], hospitals: int) -> Records:
    """One record a canary that is in, and before them a dark one a hospital, which has no gradient."""
    size = study.images.size
    images = np.zeros((hospitals + len(inside), size * size * _CHANNELS), dtype=np.float32)
    images[np.arange(hospitals, len(images)), inside] = _STEEP * study.privacy.l2_clip_norm
    return Records(
        images.reshape(-1, size, size, _CHANNELS),
        np.concatenate([np.zeros(hospitals, np.int64), labels[inside]]),
        np.arange(len(images), dtype=np.int64),
    )


def _audited(study: Study, canaries: int, size: int) -> Study:
    """``study`` for canaries: the same noise, sampling and number of steps, each step seen by itself."""
    training, privacy = study.training, study.privacy
    per_unit = _LEARNING_RATE * privacy.l2_clip_norm / canaries
    return replace(
        study,
        hospitals=dict.fromkeys(study.names, canaries),
        images=replace(study.images, size=size),
        training=replace(
            training,
            rounds=study.steps,
            local_steps=1,
            momentum=0.0,
            averaging=0.0,
            learning_rate=_LEARNING_RATE,
            update_range=None
            if training.update_range is None
            else per_unit * (canaries + _NOISE_ROOM * study.noise_multiplier) / training.sampling_probability,
        ),
        privacy=replace(
            privacy,
            # Delta takes no part in training; it must stay below one over the units now declared.
            delta=1e-9,
            levels_per_clip_norm=None if privacy.levels_per_clip_norm is None else _LEVELS,
        ),
        secure_aggregation=replace(
            study.secure_aggregation,
            smallest_cohort=len(study.hospitals),
            colluders=0,
            dropouts=0,
            bits=_BITS,
        ),
    )
