"""An evidence map as the page draws it: the field in the dark, lit where something speaks for the class.

How well a square is lit says how much it speaks for the class, relative to the strongest one and rounded to
a few steps, since every number that leaves the server tells whoever asks many times something about the
training images. A square that speaks against the class stays dark and gets a ring. So nothing is told by
colour, and cells stay visible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.model.evidence_map import GRID, Place, strongest_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 4
"""Steps between dark and lit."""

_DARKEST = 0.64
_LARGEST_RADIUS = 0.3


@dataclass(frozen=True, slots=True)
class Square:
    """``x`` and ``y`` count squares from the upper left corner; ``dark`` is the opacity of what covers it.

    ``ring`` is the radius of its ring in squares, 0 unless it speaks against the class.
    """

    x: int
    y: int
    dark: float
    ring: float


@dataclass(frozen=True, slots=True)
class EvidenceMap:
    """For the class ``name``: where in the image the network found what speaks for or against it."""

    name: str
    place: Place
    squares: tuple[Square, ...]
    grid: int = GRID

    @property
    def has_rings(self) -> bool:
        """Whether anything speaks against the class."""
        return any(square.ring for square in self.squares)


def drawn(name: str, evidence: NDArray[np.float64]) -> EvidenceMap:
    """The map of `fedpriv.model.evidence_map`, (GRID, GRID), with its numbers rounded away."""
    largest = float(np.abs(evidence).max())
    levels = np.rint(LEVELS * evidence / largest) if largest else np.zeros_like(evidence)
    squares = tuple(
        Square(
            x=column,
            y=row,
            dark=round(_DARKEST * (1 - max(0.0, level) / LEVELS), 3),
            ring=round(_LARGEST_RADIUS * math.sqrt(max(0.0, -level) / LEVELS), 3),
        )
        for row, line in enumerate(levels.tolist())
        for column, level in enumerate(line)
    )
    return EvidenceMap(name, strongest_place(evidence), squares)
