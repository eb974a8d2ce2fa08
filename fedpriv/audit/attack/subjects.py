"""What is attacked when nobody names a study: a small one of each kind of noise, at epsilon 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fedpriv.audit.conformance import installed_mechanisms

if TYPE_CHECKING:
    from fedpriv.study import Study

_ROUNDS = 4
_EPSILON, _NOISE_MULTIPLIER = 3.0, 2.8
_SIZE = 32


def small_studies() -> tuple[Study, ...]:
    """Small enough for minutes, with an epsilon that a thousand canaries can contradict."""
    return tuple(
        replace(
            study,
            images=replace(study.images, size=_SIZE),
            training=replace(study.training, rounds=_ROUNDS),
            privacy=replace(study.privacy, epsilon=_EPSILON, noise_multiplier=_NOISE_MULTIPLIER),
        )
        for study in installed_mechanisms()
        if study.privacy.unit == "image"
    )
