"""Membership inference on the final model: whether an image was trained on.

Seventeen models are trained, each image in each by a fair coin. The first is the target; the others are the
attacker's shadows. Labels are drawn at random, so whatever a model knows about them it has memorised. Since
coins decide, the guesses prove a bound on epsilon as a one-run audit's do (`one_run_bound`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from fedpriv.audit.attack.membership_scores import (
    area_under_curve,
    likelihood_ratio,
    logit,
    loss_score,
    measurable_rate,
    true_positives,
)
from fedpriv.audit.attack.one_run import claimed_epsilon
from fedpriv.audit.attack.one_run_bound import epsilon_ceiling, epsilon_lower_bound
from fedpriv.audit.attack.row import Role, Row
from fedpriv.audit.attack.training_run import run, seen_together
from fedpriv.audit.bench import Records
from fedpriv.model.evaluate import predict
from fedpriv.model.network import build_model
from fedpriv.model.weights import from_vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fedpriv.study import Study

IMAGES = 300
SHADOWS = 16
OVERFITTING_STEPS = 200

_GUESSED = 1 / 3
"""The share of images that are guessed on, fixed beforehand."""

_FAIR = 0.5
_OVERFITTING_RATE, _OVERFITTING_MOMENTUM, _OVERFITTING_RANGE = 0.1, 0.9, 1e3
_BITS = 32


def membership(
    study: Study,
    images: NDArray[np.float32],
    *,
    shadows: int = SHADOWS,
    steps: int = OVERFITTING_STEPS,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Row]:
    """Rows of both scores on a model that overfits without noise, on one of ``study``, and on coins.

    ``images`` float32 (n, size, size, 3) are public. ``on_progress`` gets the number of models trained.
    """
    generator = np.random.default_rng()
    labels = generator.integers(len(study.study.classes), size=len(images))
    records = Records(images, labels, np.arange(len(images), dtype=np.int64))
    coins = generator.random((shadows + 1, len(images))) < _FAIR
    done = 0
    for subject, role, trained in (
        ("model without noise, overfitted", Role.CONTROL, _overfitting(study, steps)),
        ("model as planned", Role.SUBJECT, _declaring(study, len(images))),
    ):
        confidences = []
        for inside in coins:
            confidences.append(_confidence(trained, _chosen(records, inside), records))
            done += 1
            if on_progress is not None:
                on_progress(done)
        sure = np.array(confidences)
        scores = {
            "loss threshold": loss_score(sure[0]),
            f"LiRA, {shadows} shadows": likelihood_ratio(logit(sure[0]), logit(sure[1:]), coins[1:]),
        }
        for score, values in scores.items():
            yield _row(study, f"{subject}: {score}", role, values, coins[0])
        if role is Role.SUBJECT:
            unused = generator.random(len(images)) < _FAIR
            yield _row(study, "the same scores, other coins", Role.REFERENCE, values, unused)
    yield _row(study, "chance", Role.REFERENCE, generator.random(len(images)), coins[0])


def _row(
    study: Study, subject: str, role: Role, scores: NDArray[np.float64], members: NDArray[np.bool_]
) -> Row:
    delta, claim = study.privacy.delta, claimed_epsilon(study)
    half = math.floor(len(scores) * _GUESSED / 2)
    # Equal scores stand in no order that could help, or harm.
    shuffled = np.random.default_rng().permutation(len(scores))
    order = shuffled[np.argsort(scores[shuffled], kind="stable")]
    right = int(members[order[-half:]].sum() + (~members[order[:half]]).sum())
    bound = epsilon_lower_bound(len(scores), 2 * half, right, delta=delta)
    ceiling = epsilon_ceiling(len(scores), 2 * half, delta=delta)
    area = area_under_curve(scores, members)
    rate = measurable_rate(int((~members).sum()))
    figures = {
        "area_under_curve": area,
        "guesses": 2 * half,
        "right": right,
        "epsilon_lower_bound": bound,
        "epsilon_ceiling": ceiling,
        "epsilon_claimed": claim,
    }
    at_rate = ""
    if rate is not None:
        found = true_positives(scores, members, rate)
        figures |= {"false_positive_rate": rate, "true_positive_rate": found}
        at_rate = f", {found:.0%} found at {rate:.1%} false alarms"
    return Row(
        attack=f"membership, {study.privacy.noise} noise",
        subject=subject,
        role=role,
        observed=f"AUC {area:.2f}{at_rate}; epsilon >= {bound:.2f}, claimed {claim:.2f}",
        power=f"epsilon {ceiling:.2f}",
        # A control need not reach the claim, but must tell members from others beyond doubt.
        holds=bound > 0 if role is Role.CONTROL else bound <= claim,
        figures=figures,
    )


def _chosen(records: Records, inside: NDArray[np.bool_]) -> Records:
    return Records(records.images[inside], records.labels[inside], records.units[inside])


def _confidence(study: Study, trained_on: Records, asked: Records) -> NDArray[np.float64]:
    """What a fresh final model says of each asked image's label, float64 (n,)."""
    *_, last = run(study, trained_on, seen_together(study))
    model = build_model(study)
    from_vector(model, last.published)
    probabilities = predict(model, asked.images)
    return np.asarray(probabilities[np.arange(len(asked.labels)), asked.labels])


def _declaring(study: Study, images: int) -> Study:
    """``study`` with as many units as coins will choose on average."""
    each = max(1, images // (2 * len(seen_together(study))))
    return replace(
        study,
        hospitals=dict.fromkeys(study.names, each),
        # Delta takes no part in training; it must stay below one over the units now declared.
        privacy=replace(study.privacy, delta=min(study.privacy.delta, 1e-9)),
        secure_aggregation=replace(study.secure_aggregation, bits=_BITS),
    )


def _overfitting(study: Study, steps: int) -> Study:
    """The same network trained without noise for many steps at one hospital."""
    return replace(
        study,
        privacy=replace(
            study.privacy,
            noise="none",
            epsilon=math.inf,
            noise_multiplier=0.0,
            levels_per_clip_norm=None,
        ),
        training=replace(
            study.training,
            rounds=1,
            local_steps=steps,
            sampling_probability=1.0,
            learning_rate=_OVERFITTING_RATE,
            momentum=_OVERFITTING_MOMENTUM,
            averaging=0.0,
            update_range=_OVERFITTING_RANGE,
        ),
        secure_aggregation=replace(study.secure_aggregation, bits=_BITS),
    )
