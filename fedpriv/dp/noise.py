"""Gaussian noise for a released sum.

*Formal guarantee*: every coordinate is an independent normal variable with mean 0 and the given standard
deviation, from a keystream used for this call only. Added to a sum whose L2 sensitivity to one unit is C, a
standard deviation of ``noise_multiplier * C`` makes the release a Gaussian mechanism (Dwork and Roth 2014,
Theorem A.1; accounted in :mod:`fedpriv.dp.accounting`).

*Edge cases*: standard deviation 0 gives exact zeros; a negative or non-finite one is refused. Computed
and added in float64. A float64 normal is not a real number: with one draw a coordinate, low-order bits of
the sum may show which reals could not have been drawn (Mironov 2012), so each is the scaled sum of four
draws, which leaves too many preimages to search.

*Source*: Holohan and Braghin 2021, "Secure random sampling in differential privacy", section 4 (n = 4 normal
variables instead of one); ziggurat normals of ``numpy.random.Generator`` over :mod:`fedpriv.dp.randomness`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedpriv.dp.randomness import fresh_generator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DRAWS_PER_COORDINATE = 4


def gaussian_noise(dimension: int, standard_deviation: float) -> NDArray[np.float64]:
    """Fresh noise, shape (dimension,), float64; ValueError for a deviation below 0 or not finite."""
    if not (math.isfinite(standard_deviation) and standard_deviation >= 0):
        raise ValueError(f"standard_deviation is {standard_deviation}, must be finite and at least 0")
    generator = fresh_generator()
    total = generator.standard_normal(dimension)
    for _ in range(_DRAWS_PER_COORDINATE - 1):
        total += generator.standard_normal(dimension)
    total *= standard_deviation / math.sqrt(_DRAWS_PER_COORDINATE)
    return total
