"""What one release says about a person with several units in the data: all images of one patient, say.

*Formal guarantee*: :func:`group_loss` bounds the privacy loss of adding or removing ``group_size`` units
together from one Poisson-subsampled Gaussian. Of the group, Binomial(group_size, q) units are in the sample,
and each moves the sum by at most one clip norm; so the release is dominated, in either direction, by the
mixture over i of normals at i clip norms against the normal at 0. It composes adaptively like any other, and
it is tight: the worst case is a group whose clipped gradients are equal. Multiplying epsilon by the size of
the group would claim too much: delta grows as well.

*Edge cases*: at probability 1 the mixture is one normal, and the accountant's own Gaussian of multiplier
z / group_size is exact. A group of 1 is the plain subsampled Gaussian. Discretisation is pessimistic.

*Source*: Ganesh 2024, "Tight group-level DP guarantees for DP-SGD with sampling via mixture of Gaussians
mechanisms" (Poisson sampling); Doroshenko et al. 2022 ("connect the dots"), as in dp_accounting.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAIL_DEVIATIONS = 10.0
"""What lies beyond counts as infinite loss: 1e-23 of the probability."""

_BISECTIONS = 70
"""Halvings of an interval of some hundred deviations: down to the last bit."""


def group_loss(noise_multiplier: float, sampling_probability: float, group_size: int, interval: float) -> Any:  # noqa: ANN401 - dp_accounting ships no types
    """dp_accounting's privacy loss distribution of one release for the group, in cells of ``interval``."""
    from dp_accounting.pld import pld_pmf, privacy_loss_distribution

    mixture = _Mixture(noise_multiplier, sampling_probability, group_size)
    far = _TAIL_DEVIATIONS * noise_multiplier
    least, most = mixture.loss(np.array([-far, group_size + far]))
    sides = []
    for delta_at, low, high in (
        (mixture.removing, least, most),
        (mixture.adding, -most, -least),
    ):
        first, last = math.floor(low / interval), math.ceil(high / interval)
        deltas = np.clip(delta_at(np.arange(first, last + 1) * interval), 0.0, 1.0)
        falling = np.maximum.accumulate(deltas[::-1])[::-1]  # last bits may wiggle where nothing is left
        sides.append(pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, first, last, falling))
    return privacy_loss_distribution.PrivacyLossDistribution(*sides)


class _Mixture:
    """With the group in, sum_i Bin(i) N(i, z^2); without it N(0, z^2). The loss grows with the output."""

    def __init__(self, noise_multiplier: float, sampling_probability: float, group_size: int) -> None:
        self._z = noise_multiplier
        self._shifts = np.arange(group_size + 1.0)[:, None]
        self._log_weights = stats.binom.logpmf(self._shifts, group_size, sampling_probability)

    def loss(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log density with the group over density without it, at each output."""
        exponents = self._shifts * (2 * outputs - self._shifts) / (2 * self._z**2)
        return np.asarray(special.logsumexp(self._log_weights + exponents, axis=0), dtype=np.float64)

    def removing(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        """P[x > t] - e^epsilon Q[x > t] where the loss at t is epsilon."""
        cut = self._output_of(epsilons)
        with_group = np.exp(self._log_weights + special.log_ndtr((self._shifts - cut) / self._z)).sum(axis=0)
        return np.asarray(with_group - np.exp(epsilons + special.log_ndtr(-cut / self._z)), dtype=np.float64)

    def adding(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q[x < t] - e^epsilon P[x < t] where the loss at t is -epsilon."""
        cut = self._output_of(-epsilons)
        with_group = special.logsumexp(
            self._log_weights + special.log_ndtr((cut - self._shifts) / self._z), axis=0
        )
        return np.asarray(special.ndtr(cut / self._z) - np.exp(epsilons + with_group), dtype=np.float64)

    def _output_of(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the loss is as given, by bisection; the ends of the range stand for all that is beyond.

        Any cut gives a lower value than the right one, so its error is of second order.
        """
        low = np.full(losses.shape, -4 * _TAIL_DEVIATIONS * self._z)
        high = np.full(losses.shape, self._shifts[-1, 0] + 4 * _TAIL_DEVIATIONS * self._z)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = self.loss(middle) < losses
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        found: NDArray[np.float64] = (low + high) / 2
        return found
