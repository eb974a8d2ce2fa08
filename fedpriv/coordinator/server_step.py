"""How the coordinator moves the model: from a round's sum to the next vector, all of it post-processing.

With local noise a hospital's update has its own optimizer behind it, and the sum is added as it is. With
distributed noise the sum is one noisy gradient of the whole federation, and momentum is kept here.

*Source*: McMahan et al. 2017, algorithm 1 (weighted updates); Polyak 1964 (momentum); De et al. 2022,
section 3 (averaging under noise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.secagg.ring import dequantise_sum, signed_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.study import Study


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run has come to: all that the next round needs, of shape (d,) each.

    ``vector`` float32 is the model that hospitals train, ``velocity`` float64 the momentum, and ``average``
    float64 the mean over rounds that is published; without averaging it is the vector.
    """

    vector: NDArray[np.float32]
    velocity: NDArray[np.float64]
    average: NDArray[np.float64]

    @property
    def published(self) -> NDArray[np.float32]:
        """The model for the world."""
        return self.average.astype(np.float32)


def at_start(vector: NDArray[np.float32]) -> Progress:
    """Before the first round, at rest at ``vector``."""
    start = vector.astype(np.float64)
    return Progress(vector.astype(np.float32), np.zeros_like(start), start)


def moved(
    study: Study, before: Progress, total: NDArray[np.int64], survivors: tuple[str, ...], rounds: int
) -> Progress:
    """The progress after the ``rounds``-th complete round, whose sum over ``survivors`` is ``total``.

    The divisor is made of public constants: declared units, sampling probability.
    """
    bits = study.secure_aggregation.bits
    present = sum(study.hospitals[name] for name in survivors)
    velocity = before.velocity
    if study.privacy.noise == "distributed":
        grid_step = study.privacy.l2_clip_norm / study.noise_shares.levels
        expected_units = present * study.training.sampling_probability
        gradient = signed_sum(total, len(survivors), bits) * (grid_step / expected_units)
        velocity = study.training.momentum * velocity + gradient
        step = -study.training.learning_rate * velocity
    else:
        # Each hospital scaled its update by its share of all declared units.
        step = dequantise_sum(total, len(survivors), study.update_range, bits) / (present / study.units)
    vector = (before.vector + step).astype(np.float32)
    weight = max(1.0 - study.training.averaging, 1.0 / rounds)
    average = (1.0 - weight) * before.average + weight * vector.astype(np.float64)
    return Progress(vector, velocity, average)
