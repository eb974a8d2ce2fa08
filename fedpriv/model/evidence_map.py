"""Where in an image the evidence for a class lies: one number a square, and they add up.

The networks here pool colours, grain and random features over places, so maps of their layers (Grad-CAM) say
little about places, and gradients through cosines and soft bins say little about what is there. So the
question is asked of the network as a whole: how do the log-odds of the class change when a square of the
field is uncovered, the rest being plain plasma? Squares are uncovered one after the other, in a random order
and in its reverse, until all are; what a square adds is averaged over both orders. This estimates the Shapley
value of each square from few orders; the reverse order makes up for what the first one owes to chance, since
a square that came early comes late.

*Formal guarantees*, for any network and any number of orders: the evidence of all squares adds up to the
log-odds of the image less those of plain plasma, up to float32 rounding (efficiency); a square that is plain
already has none (null player). The orders are fixed: the same image has the same map.

| edge case | what happens |
|---|---|
| a plain field | every square has none, and no place is strongest |
| the corner where the scale bar was covered | stays as it is, and has none |
| squares that speak against the class | negative numbers |
| a side that :data:`GRID` does not divide | squares differ by a pixel |

*Source*: Shapley 1953; Castro, Gomez and Tejada 2009 (sampling orders); Mitchell et al. 2022
(antithetic orders); Zeiler and Fergus 2014 (covering squares of an image).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GRID = 8
"""Squares along a side."""

PAIRS = 1
"""Orders, each with its reverse: 128 images. On two cores that also had other work to do, 0.2 to 0.4 s with
smear-cnn and 0.6 to 0.9 s with histogram-cnn."""

_KEY = 1953
_CONCENTRATED = 2.0
"""A place is named if it holds so many times its share of the positive evidence."""


class Place(StrEnum):
    """A ninth of the field; or no single one of them."""

    UPPER_LEFT = "upper left"
    UPPER_MIDDLE = "upper middle"
    UPPER_RIGHT = "upper right"
    MIDDLE_LEFT = "middle left"
    CENTRE = "centre"
    MIDDLE_RIGHT = "middle right"
    LOWER_LEFT = "lower left"
    LOWER_MIDDLE = "lower middle"
    LOWER_RIGHT = "lower right"
    SPREAD = "spread over the field"
    NOWHERE = "nowhere"


def evidence_map(
    probabilities_of: Callable[[NDArray[np.float32]], NDArray[np.float64]],
    image: NDArray[np.float32],
    class_number: int,
    *,
    pairs: int = PAIRS,
) -> NDArray[np.float64]:
    """Evidence for the class, float64 (GRID, GRID), in nats of its log-odds; row 0 is the upper edge.

    ``probabilities_of`` maps images float32 (n, size, size, 3) to (n, classes) and is called once; ``image``
    is float32 (size, size, 3) in [0, 1], ``size`` at least GRID.
    """
    plain = plain_field(image)
    square_of_pixel = _squares(image.shape[0])
    orders = _orders(pairs)
    # position[o, s]: when square s is uncovered in order o; after k steps those with a position below k are.
    position = np.argsort(orders, axis=1)
    steps = np.arange(1, GRID**2)
    uncovered = (position[:, None, :] < steps[None, :, None]).reshape(-1, GRID**2)
    shown = uncovered[:, square_of_pixel][..., None]
    batch = np.concatenate([plain[None], image[None], np.where(shown, image, plain)]).astype(np.float32)
    log_odds = _log_odds(probabilities_of(batch), class_number)
    nothing, everything = log_odds[0], log_odds[1]
    course = np.column_stack(
        [
            np.full(len(orders), nothing),
            log_odds[2:].reshape(len(orders), -1),
            np.full(len(orders), everything),
        ]
    )
    added = np.take_along_axis(np.diff(course, axis=1), position, axis=1)
    return np.asarray(added.mean(axis=0).reshape(GRID, GRID))


def plain_field(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """``image`` without its cells, the same shape: plasma everywhere, but where it is pure white already.

    That is where the scale bar was covered (`fedpriv.smears.decode`); every image that the network knows has
    it, so it is no evidence.
    """
    white = (image >= 1.0).all(axis=-1, keepdims=True)
    return np.asarray(np.where(white, image, plasma_colour(image)), dtype=np.float32)


def plasma_colour(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the field looks like where no cell is, float32 (3,): the median of the brighter half of pixels."""
    pixels = image.reshape(-1, 3)
    brightness = pixels.mean(axis=1)
    return np.asarray(np.median(pixels[brightness >= np.median(brightness)], axis=0), dtype=np.float32)


def strongest_place(evidence: NDArray[np.float64]) -> Place:
    """The ninth of the field with most evidence for the class, where one stands out."""
    positive = np.maximum(evidence, 0.0)
    total = positive.sum()
    if total <= 0.0:
        return Place.NOWHERE
    edges = np.linspace(0, GRID, 4)
    share = np.array([_overlap(edges[third], edges[third + 1]) for third in range(3)])
    ninths = share @ positive @ share.T
    strongest = int(ninths.argmax())
    if ninths.flat[strongest] < _CONCENTRATED * total / ninths.size:
        return Place.SPREAD
    return tuple(Place)[strongest]


def _overlap(low: float, high: float) -> NDArray[np.float64]:
    """How much of each of GRID squares in a row lies between ``low`` and ``high``."""
    left = np.arange(GRID)
    return np.asarray(np.clip(np.minimum(left + 1, high) - np.maximum(left, low), 0.0, 1.0))


def _squares(size: int) -> NDArray[np.intp]:
    """The number of its square for each pixel, (size, size)."""
    along = np.arange(size) * GRID // size
    return np.asarray(along[:, None] * GRID + along[None, :], dtype=np.intp)


def _orders(pairs: int) -> NDArray[np.intp]:
    """Orders of the squares, (2 pairs, GRID**2): each with its reverse."""
    generator = np.random.Generator(np.random.Philox(key=_KEY))
    forward = np.array([generator.permutation(GRID**2) for _ in range(pairs)], dtype=np.intp)
    return np.concatenate([forward, forward[:, ::-1]])


def _log_odds(probabilities: NDArray[np.float64], class_number: int) -> NDArray[np.float64]:
    """Log of p / (1 - p), the others added up rather than taken from 1: near certainty that would be 0."""
    tiny = np.finfo(np.float64).tiny
    others = np.delete(probabilities, class_number, axis=1).sum(axis=1)
    return np.asarray(
        np.log(np.maximum(probabilities[:, class_number], tiny)) - np.log(np.maximum(others, tiny))
    )
