"""Noise that hospitals add together: each one's share, and what is left of it when some collude.

The sum of the hospitals' integer gradients moves by at most ``levels`` when a unit is added or removed. Each
hospital adds a discrete Gaussian of variance v; at least n_min = hospitals - dropouts - colluders shares that
nobody in the coalition knows are in every sum that can be opened, and

    n_min v = (noise_multiplier levels)^2 + SLACK^2.

*Formal guarantee*: the opened sum reveals no more about a unit than a **continuous** Gaussian of exactly
``noise_multiplier`` times the sensitivity, up to statistical distance 2^-100 a coordinate and step: adaptive
composition, Poisson sampling and the privacy loss distribution of the Gaussian all hold for it, and one
trusted trainer's event is charged. The argument, for one coordinate with integer value m:

1. A sum of independent N_Z(v) is N_Z of the summed variance within factors 1 +- 10 (n - 1) exp(-pi^2 v), far
   below 2^-1000 at the smallest deviation of a share.
2. Let X be normal about m with variance s^2, and let Z given X = x be an integer with probability
   proportional to exp(-(z - x)^2 / 2 h^2), h = SLACK = 3. By Poisson summation the factor of proportion is
   1 / (sqrt(2 pi) h), whatever x, within 1 +- e, e = 2.1 exp(-2 pi^2 h^2) < 2^-254. Integrating over x,
   P[Z = z] is the normal density of variance s^2 + h^2 about m at z, which is N_Z(s^2 + h^2) moved to m,
   within the same factors. So noise N_Z(s^2 + h^2) on an integer is Gaussian noise of variance s^2 on it,
   followed by a rounding that looks at nothing else: post-processing.

*Edge cases*: a share is refused below the smallest deviation of the sampler. A coalition larger than the
planned one still faces what :meth:`multiplier_against` says: the unit's own hospital is in every sum that
holds the unit, with its share, so against all others together one share is left.

*Source*: step 1 Kairouz, Liu and Steinke 2021, section 4; step 2 Peikert 2010, theorem 3.1 (a continuous
Gaussian rounded at random is a discrete one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedpriv.dp.discrete_gaussian import LARGEST_DEVIATION, SMALLEST_DEVIATION

SLACK = 3.0
"""Standard deviation, in levels, of the rounding that turns a continuous Gaussian into a discrete one."""

_TAIL_DEVIATIONS = 12
"""Room for noise in a value: one draw in 10^32 is larger, and then nothing is sent."""


@dataclass(frozen=True, slots=True)
class NoiseShares:
    """Shares for ``hospitals``, of which ``dropouts`` may be missing and ``colluders`` tell what they added.

    ``noise_multiplier`` is what the others' noise amounts to, its standard deviation over the clip norm;
    ``levels`` the integer steps of one clip norm. Raises ValueError for numbers that leave nobody to add
    noise, or a share that the sampler cannot draw.
    """

    hospitals: int
    dropouts: int
    colluders: int
    noise_multiplier: float
    levels: int

    def __post_init__(self) -> None:
        if min(self.dropouts, self.colluders) < 0 or self.fewest_honest < 1:
            raise ValueError(
                f"{self.hospitals} hospitals less {self.dropouts} dropouts and {self.colluders} colluders "
                "leave nobody whose noise counts"
            )
        if not SMALLEST_DEVIATION <= self.standard_deviation <= LARGEST_DEVIATION:
            raise ValueError(
                f"a share of noise has standard deviation {self.standard_deviation:.4g} levels, must lie "
                f"between {SMALLEST_DEVIATION:g} and 2^40"
            )

    @property
    def fewest_honest(self) -> int:
        """n_min: the shares in the smallest sum that the planned coalition does not know."""
        return self.hospitals - self.dropouts - self.colluders

    @property
    def standard_deviation(self) -> float:
        """Of one share, in levels."""
        return math.sqrt((self._sum_deviation**2 + SLACK**2) / self.fewest_honest)

    def multiplier_against(self, colluders: int) -> float:
        """The noise multiplier that faces a coalition with so many others, when all dropouts are missing.

        With ``colluders`` = 1 it is also what faces one curious hospital, which knows its own share.
        """
        return self.multiplier_of(max(1, self.hospitals - self.dropouts - colluders))

    def multiplier_of(self, shares: int) -> float:
        """The noise multiplier that so many shares amount to, at least 1."""
        return math.sqrt(shares * self.standard_deviation**2 - SLACK**2) / self.levels

    def most_units(self, bits: int) -> int:
        """How many units a hospital's sum may hold so that it surely fits a signed value of ``bits`` bits."""
        room = (1 << (bits - 1)) - 1 - math.ceil(_TAIL_DEVIATIONS * self.standard_deviation)
        return max(0, room // self.levels)

    @property
    def _sum_deviation(self) -> float:
        return self.noise_multiplier * self.levels
