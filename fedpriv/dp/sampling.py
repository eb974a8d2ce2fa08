"""Poisson sampling of units, and the privacy event that it earns.

*Formal guarantee*: in every draw each unit takes part independently with probability q, so the batch size is
Binomial(units, q) and a release that depends on a draw only through a mechanism of noise multiplier z is the
Poisson-subsampled mechanism that :meth:`PoissonSampler.event` states. The event is made here, beside the coin
flips: no other module can claim an amplification that was not performed.

*Edge cases*: a draw may be empty and must still be released with noise; q = 1 takes every unit and
amplifies nothing; a unit with more records than its limit contributes that many, chosen uniformly afresh
in each draw. A draw below ``at_least`` units is filled up with ABSENT ones, so that with q = 1 its size is a
public number. The realised batch size is private and is given to nobody but the step.

*Source*: Abadi et al. 2016, section 3.1; Mironov, Talwar and Zhang 2019; on shuffled batches passed off
as Poisson samples: Chua et al. 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.dp.randomness import fresh_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

ABSENT = -1
"""Fills the places of a unit that has fewer records than the limit."""


class PoissonSampler:
    """Draws units, each with at most ``records_per_unit`` of its records, by fresh independent coins.

    ``at_least`` is a public number of units for which the time of a step is spent, however many are drawn.

    ``units`` int (records,) gives each record's unit: equal numbers, one unit. Raises ValueError if there is
    no record, for a probability outside (0, 1], or for a limit below 1.
    """

    def __init__(
        self,
        units: NDArray[np.int64],
        *,
        sampling_probability: float,
        records_per_unit: int = 1,
        at_least: int = 0,
    ) -> None:
        if not len(units):
            raise ValueError("there is no record to sample from")
        if not 0 < sampling_probability <= 1:
            raise ValueError(f"sampling_probability is {sampling_probability}, must lie in (0, 1]")
        if records_per_unit < 1:
            raise ValueError(f"records_per_unit is {records_per_unit}, must be at least 1")
        order = np.argsort(units, kind="stable")
        self._units = np.split(order, np.flatnonzero(np.diff(units[order])) + 1)
        self._probability = sampling_probability
        self._at_least = at_least
        self.records_per_unit = records_per_unit

    def draw(self) -> NDArray[np.int64]:
        """Record indices of one sample, (units, records_per_unit): those drawn, then ABSENT to fill up."""
        generator = fresh_generator()
        drawn = np.flatnonzero(generator.random(len(self._units)) < self._probability)
        shape = (max(len(drawn), self._at_least), self.records_per_unit)
        sample = np.full(shape, ABSENT, dtype=np.int64)
        for place, number in zip(sample, drawn, strict=False):
            unit = self._units[number]
            if len(unit) > self.records_per_unit:
                place[:] = generator.choice(unit, self.records_per_unit, replace=False)
            else:
                place[: len(unit)] = unit
        return sample

    def event(self, noise_multiplier: float, steps: int) -> PrivacyEvent:
        """The cost of releasing ``steps`` draws, each through a Gaussian of this multiplier."""
        return PrivacyEvent(noise_multiplier, self._probability, steps)
