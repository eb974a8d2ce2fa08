r"""Integer noise that behaves like Gaussian noise: the discrete Gaussian, drawn with integers only.

N_Z(s^2) gives each integer z a probability proportional to exp(-z^2 / 2 s^2).

*Formal guarantee*: every coordinate of :func:`discrete_gaussian` is independent, from a keystream used for
this call only, and within statistical distance 2^-100 of N_Z(s^2). Three digits to the base k are drawn
from one table for N_Z(b^2) and put together,

    z = x_0 + k x_1 + k^2 x_2,   s^2 = b^2 (1 + k^2 + k^4),   b >= 2.5 sqrt(1 + k^2).

Completing the square in x + k y, with x of variance u^2 and y of variance v^2, leaves a Gaussian of variance
u^2 + k^2 v^2 times a sum over integers of a Gaussian of variance r^2 = u^2 v^2 / (u^2 + k^2 v^2); by Poisson
summation that sum is constant up to factors 1 +- 2 exp(-2 pi^2 r^2) (and far smaller terms), below 2^-170 for
r >= 2.5, which the condition on b gives in both steps. The table's thresholds have 128 bits.

*Edge cases*: a deviation below 16 is refused (the digits would not blend), as is one above 2^40 (int64). No
float takes part in a draw. Time does not depend on the values beyond the cache and, with probability 2^-50,
a second look at a threshold.

*Source*: Canonne, Kamath and Steinke 2020, definition 1 (the distribution); Micciancio and Walter 2017,
sections 4 and 5 (wide Gaussians from narrow ones); Peikert 2010, section 4.1 (inversion of a table).
"""

from __future__ import annotations

import functools
import math
import secrets
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.randomness import fresh_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALLEST_DEVIATION = 16.0
LARGEST_DEVIATION = 2.0**40

_DIGITS = 3
_BLEND = 2.5
_WORD_BITS = 64
_THRESHOLD_BITS = 2 * _WORD_BITS
_TAIL_DEVIATIONS = 14
"""Beyond lies less than 2^-140 of the probability."""

_DECIMAL_PLACES = 60
_DRAWS_AT_A_TIME = 1 << 16


@dataclass(frozen=True, slots=True)
class _Table:
    """N_Z(b^2) by inversion: value ``first + i`` belongs to draws between thresholds i - 1 and i.

    ``thresholds`` are cumulative probabilities times 2^128; ``high`` their upper 64 bits.
    """

    first: int
    thresholds: tuple[int, ...]
    high: NDArray[np.uint64]


def discrete_gaussian(dimension: int, standard_deviation: float) -> NDArray[np.int64]:
    """Fresh noise, int64 (dimension,); ValueError for a deviation outside [16, 2^40]."""
    if not SMALLEST_DEVIATION <= standard_deviation <= LARGEST_DEVIATION:
        raise ValueError(
            f"standard_deviation is {standard_deviation}, must lie between {SMALLEST_DEVIATION:g} and 2^40"
        )
    base = _base(standard_deviation)
    table = _table(standard_deviation / math.sqrt(1 + base**2 + base**4))
    generator = fresh_generator()
    noise = np.empty(dimension, dtype=np.int64)
    for start in range(0, dimension, _DRAWS_AT_A_TIME):
        block = noise[start : start + _DRAWS_AT_A_TIME]
        block[:] = 0
        for _ in range(_DIGITS):
            block *= base
            block += _invert(table, generator.integers(0, 2**_WORD_BITS, block.size, dtype=np.uint64))
    return noise


def _base(standard_deviation: float) -> int:
    """The largest k whose digits still blend: b >= 2.5 sqrt(1 + k^2)."""
    base = max(1, int((standard_deviation / _BLEND) ** (1 / 3)))
    while base > 1 and not _blends(standard_deviation, base):
        base -= 1
    return base


def _blends(standard_deviation: float, base: int) -> bool:
    return standard_deviation >= _BLEND * math.sqrt((1 + base**2) * (1 + base**2 + base**4))


@functools.lru_cache(maxsize=4)
def _table(standard_deviation: float) -> _Table:
    reach = math.ceil(_TAIL_DEVIATIONS * standard_deviation)
    with localcontext() as context:
        context.prec = _DECIMAL_PLACES
        rate = 1 / (2 * Decimal(standard_deviation) ** 2)
        weights = [(-rate * value * value).exp() for value in range(reach + 1)]
        cumulative = list(accumulate([*weights[:0:-1], *weights]))
        scale = Decimal(2**_THRESHOLD_BITS) / cumulative[-1]
        thresholds = tuple(int(weight * scale) for weight in cumulative[:-1])
    high = np.array([threshold >> _WORD_BITS for threshold in thresholds], dtype=np.uint64)
    return _Table(-reach, thresholds, high)


def _invert(table: _Table, draws: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The value of each draw, uint64 (n,), as int64 (n,): how many thresholds do not exceed it."""
    passed = np.searchsorted(table.high, draws, side="right")
    # A draw whose 64 bits equal a threshold's is decided by 64 bits more.
    for place in np.flatnonzero(table.high[passed - 1] == draws):
        long_draw = int(draws[place]) << _WORD_BITS | secrets.randbits(_WORD_BITS)
        passed[place] = bisect_right(table.thresholds, long_draw)
    return passed + table.first
