"""Each unit's clipped gradient on an integer grid, with a norm that is still at most the clip norm.

The grid has ``levels`` steps to one clip norm. A gradient is clipped to :data:`SHARE` of the clip norm, so
that rounding has room; each coordinate is rounded up with probability equal to its fraction, and a row whose
norm came out above ``levels`` is rounded again.

*Formal guarantee*: every row of the result is an integer vector of L2 norm at most ``levels``, checked on the
integers, and a function of that unit's row and fresh coins alone. So adding or removing one unit moves the
integer sum by at most ``levels``, one clip norm, whatever the rounding did: there is nothing to add to the
sensitivity for it.

*Edge cases*: 0 stays 0, and so does an absent unit or one whose gradient was not finite. A row that is not
finite or longer than the clipping allows is refused: it could be redrawn for ever. A row is redrawn with
probability at most 2^-40 if :func:`fewest_levels` is respected, and its mean is then off by at most
2^-39 sqrt(d) steps (and levels 2^-53 steps for the sum with a coin): rounding is unbiased for all purposes.

*Source*: Kairouz, Liu and Steinke 2021, proposition 22 (conditional rounding): x of d coordinates, in steps,
becomes no longer than sqrt(|x|^2 + d/4 + sqrt(2 ln(1/beta)) (|x| + sqrt(d)/2)) with probability at least
1 - beta. There the bound is the sensitivity; here the clip norm is, and the bound tells how many levels are
enough.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.randomness import fresh_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARE = 1.0 - 2.0**-10
"""Gradients to be rounded are clipped to this share of the clip norm."""

_LOG_ONE_OVER_BETA = 40 * math.log(2)
MOST_LEVELS = 2**26
"""Squares of norms up to here are integers that float64 holds exactly."""


def fewest_levels(dimension: int) -> int:
    """The fewest levels to one clip norm, a power of 2, at which a redraw has probability 2^-40 at most."""
    levels = 1
    while _norm_bound(SHARE * levels, dimension) > levels:
        levels *= 2
    return levels


def round_units(gradients: NDArray[np.float32], l2_clip_norm: float, levels: int) -> NDArray[np.int64]:
    """Round rows (units, d), each clipped to SHARE of ``l2_clip_norm``, to int64 rows of norm <= ``levels``.

    Raises ValueError for a row that is not finite or was not clipped.
    """
    if levels > MOST_LEVELS:
        raise ValueError(f"{levels} levels to a clip norm are more than {MOST_LEVELS}")
    scaled = gradients.astype(np.float64)
    scaled *= levels / l2_clip_norm
    if not (_squared_norms(scaled) <= (SHARE * levels) ** 2).all():
        raise ValueError("a gradient to be rounded is not finite, or longer than it was clipped to")
    rounded = _round(scaled)
    while (too_long := _squared_norms(rounded) > levels * levels).any():
        rounded[too_long] = _round(scaled[too_long])
    return rounded.astype(np.int64)


def _round(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """A number plus a coin, uniform in [0, 1), passes an integer with probability equal to its fraction."""
    rounded = fresh_generator().random(scaled.shape)
    rounded += scaled
    np.floor(rounded, out=rounded)
    return rounded


def _squared_norms(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    squared: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows)
    return squared


def _norm_bound(norm: float, dimension: int) -> float:
    """What the norm of a rounded vector exceeds with probability 2^-40 at most."""
    spread = math.sqrt(2 * _LOG_ONE_OVER_BETA) * (norm + math.sqrt(dimension) / 2)
    return math.sqrt(norm**2 + dimension / 4 + spread)
