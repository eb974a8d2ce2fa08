"""Single cells as small patches of dye: red cells, white cells and their nuclei, platelets.

All cells of a kind in a field are drawn at once. A patch is square, ``(n, side, side)``, with the cell in
its middle; lengths are pixels of a 224 x 224 field, in which a red cell (7.5 micrometres) is about 22 wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.smears.drawing.stain import AZURE, EOSIN, METHYLENE_BLUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

RED_PATCH_PX = 36
WHITE_PATCH_PX = 60
PLATELET_PATCH_PX = 12
_TEXTURE_SIDE_PX = 128

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Morphology:
    """What a haematologist describes of a white cell; ranges are (least, most) between cells.

    ``nuclear_ratio``: diameter of the nucleus over the cell's; ``lobes``: segments of the nucleus;
    ``cleft``: depth of its indentation over its radius; ``chromatin``: amount of azure; ``clumping``: its
    relative contrast; ``grain_px``: size of the clumps; ``nucleoli``: how many at most;
    ``basophilia``: methylene blue in the cytoplasm; ``granularity``: eosin there; ``irregularity``:
    departure of the outline from an ellipse.
    """

    radius_px: Range
    nuclear_ratio: Range
    lobes: int
    cleft: Range
    chromatin: Range
    clumping: float
    grain_px: int
    nucleoli: int
    basophilia: float
    granularity: float
    irregularity: float


def draw_red_cells(rng: np.random.Generator, n: int, radius_px: float, pallor: float) -> NDArray[np.float32]:
    """Biconcave discs: amounts of eosin, ``(n, 36, 36)``; ``pallor`` in [0, 1] empties the centre."""
    radius = _column(radius_px * rng.uniform(0.85, 1.15, n))
    plane = _plane(rng, n, RED_PATCH_PX, squeeze=0.1)
    inside = _depth(rng, plane, radius, irregularity=0.03)
    hollow = np.square(np.abs(plane) / (0.62 * radius))
    dip = _column(pallor * rng.uniform(0.6, 1.2, n)) * np.maximum(0, 1 - hollow)
    eosin: NDArray[np.float32] = _cover(inside) * (1 - dip) * _column(rng.uniform(0.85, 1.15, n))
    return eosin


def draw_platelets(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Small granular bodies: amounts of azure, ``(n, 12, 12)``."""
    radius = _column(rng.uniform(1.5, 3.2, n))
    inside = _depth(rng, _plane(rng, n, PLATELET_PATCH_PX, squeeze=0.2), radius, irregularity=0.1)
    grain = rng.uniform(0.5, 1.3, (n, PLATELET_PATCH_PX, PLATELET_PATCH_PX)).astype(np.float32)
    return _cover(inside) * grain * _column(rng.uniform(0.3, 0.8, n))


def draw_white_cells(
    rng: np.random.Generator,
    n: int,
    morphology: Morphology,
    scale: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """White cells of one kind, ``scale`` times the usual size.

    Returns:
        Amounts of the three dyes ``(n, 60, 60, 3)``, and the covered share of each pixel ``(n, 60, 60)``.

    """
    radius = _column(scale * rng.uniform(*morphology.radius_px, n))
    plane = _plane(rng, n, WHITE_PATCH_PX, squeeze=0.08)
    cell = _cover(_depth(rng, plane, radius, morphology.irregularity))
    ratio = _column(rng.uniform(*morphology.nuclear_ratio, n))
    # The nucleus lies off centre, as far as the cytoplasm leaves room.
    offset = _turn(rng, n) * (1 - ratio) * radius * _column(rng.uniform(0.2, 0.8, n))
    nucleus = cell * _cover(_nucleus_depth(rng, plane - offset, ratio * radius, morphology))
    chromatin = nucleus * _chromatin(rng, plane - offset, ratio * radius, morphology)
    cytoplasm = cell - nucleus
    dyes = np.empty((*cell.shape, 3), dtype=np.float32)
    dyes[..., EOSIN] = cytoplasm * morphology.granularity
    dyes[..., AZURE] = chromatin + cytoplasm * 0.12
    dyes[..., METHYLENE_BLUE] = cytoplasm * morphology.basophilia + nucleus * 0.15
    return dyes, cell


def grain(rng: np.random.Generator, grain_px: int, side: int) -> NDArray[np.float32]:
    """Smooth noise ``(side, side)``, mean about 0 and spread about 1, with blobs of ``grain_px`` pixels."""
    knots = rng.standard_normal((side // grain_px + 2,) * 2, dtype=np.float32)
    position = np.arange(side, dtype=np.float32) / grain_px
    left = position.astype(np.intp)
    share = position - left
    share = share * share * (3 - 2 * share)  # smoothstep: no kinks at the knots
    rows = knots[left] * (1 - share[:, None]) + knots[left + 1] * share[:, None]
    smooth: NDArray[np.float32] = rows[:, left] * (1 - share) + rows[:, left + 1] * share
    return smooth * np.float32(1.4)  # between knots the spread is smaller


def _nucleus_depth(
    rng: np.random.Generator,
    plane: NDArray[np.complex64],
    radius: NDArray[np.float32],
    morphology: Morphology,
) -> NDArray[np.float32]:
    n = len(plane)
    if morphology.lobes > 1:
        start, step = _turn(rng, n), np.exp(2j * np.pi / (morphology.lobes + 1))
        lobes = [
            _depth(rng, plane - start * step**k * 0.6 * radius, 0.46 * radius, irregularity=0.05)
            for k in range(morphology.lobes)
        ]
        union: NDArray[np.float32] = np.maximum.reduce(lobes)
        return union
    depth = _depth(rng, plane, radius, morphology.irregularity)
    cleft = _column(rng.uniform(*morphology.cleft, n))
    bite = 0.7 * radius
    outside_bite = np.abs(plane - _turn(rng, n) * (radius * (1 - cleft) + bite)) - bite
    return _smooth_minimum(depth, outside_bite, rounding_px=3.0)


def _chromatin(
    rng: np.random.Generator,
    plane: NDArray[np.complex64],
    radius: NDArray[np.float32],
    morphology: Morphology,
) -> NDArray[np.float32]:
    """Azure per pixel if all were nucleus: clumps, and paler nucleoli."""
    n, side = len(plane), WHITE_PATCH_PX
    sheet = grain(rng, morphology.grain_px, _TEXTURE_SIDE_PX)
    corner = rng.integers(0, _TEXTURE_SIDE_PX - side, (n, 2))
    clumps = np.stack([sheet[y : y + side, x : x + side] for y, x in corner])
    amount = _column(rng.uniform(*morphology.chromatin, n)) * (1 + morphology.clumping * clumps)
    for _ in range(morphology.nucleoli):
        centre = _turn(rng, n) * radius * _column(rng.uniform(0.1, 0.6, n))
        paleness = _column(rng.uniform(0.1, 0.5, n))
        amount *= 1 - paleness * np.exp(-np.square(np.abs(plane - centre) / (0.2 * radius)))
    azure: NDArray[np.float32] = np.maximum(amount, 0)
    return azure


def _plane(rng: np.random.Generator, n: int, side: int, squeeze: float) -> NDArray[np.complex64]:
    """Pixel coordinates x + iy about the patch's middle, squeezed by up to ``squeeze`` in some direction."""
    axis = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    grid = (axis[None, :] + 1j * axis[:, None]).astype(np.complex64)
    shift = _column(rng.uniform(-0.5, 0.5, n)) + 1j * _column(rng.uniform(-0.5, 0.5, n))
    # z + s conj(z) stretches one axis by 1 + |s| and shrinks the other by 1 - |s|.
    stretch = _turn(rng, n) * _column(rng.uniform(0, squeeze, n))
    round_plane = grid - shift.astype(np.complex64)
    plane: NDArray[np.complex64] = round_plane + stretch * np.conj(round_plane)
    return plane


def _depth(
    rng: np.random.Generator,
    plane: NDArray[np.complex64],
    radius: NDArray[np.float32],
    irregularity: float,
) -> NDArray[np.float32]:
    """Pixels inside an outline of mean ``radius`` whose second to fourth harmonics are random."""
    n = len(plane)
    modulus = np.abs(plane)
    unit = plane * (1 / np.maximum(modulus, np.float32(1e-3)))
    second, third, fourth = (_turn(rng, n) * _column(rng.uniform(0, irregularity, n)) for _ in range(3))
    ripple = (unit * unit * (second + unit * (third + unit * fourth))).real
    depth: NDArray[np.float32] = radius * (1 + ripple) - modulus
    return depth


def _smooth_minimum(
    a: NDArray[np.float32], b: NDArray[np.float32], rounding_px: float
) -> NDArray[np.float32]:
    """The smaller depth, with the corner where both meet rounded."""
    near = np.maximum(rounding_px - np.abs(a - b), 0)
    smaller: NDArray[np.float32] = np.minimum(a, b) - np.square(near) * np.float32(0.25 / rounding_px)
    return smaller


def _cover(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of a pixel lies inside, from its depth in pixels."""
    cover: NDArray[np.float32] = np.clip(depth + np.float32(0.5), 0, 1)
    return cover


def _turn(rng: np.random.Generator, n: int) -> NDArray[np.complex64]:
    """Random points of the unit circle, ``(n, 1, 1)``."""
    points: NDArray[np.complex64] = np.exp(2j * np.pi * rng.random(n)).astype(np.complex64)
    return points[:, None, None]


def _column(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """One number a cell, shaped ``(n, 1, 1)`` to broadcast over patches."""
    return values.astype(np.float32)[:, None, None]
