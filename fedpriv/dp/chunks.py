"""A sample of any size as chunks of few fixed shapes, so that nothing is compiled anew and memory is bounded.

*Formal guarantee*: every drawn unit lies in exactly one chunk, with all of its drawn records.

*Edge cases*: an empty sample has no chunk; places that hold no record have presence 0, zero pixels and
label 0, and must contribute exactly zero to whatever is summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.sampling import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_RECORDS_PER_CHUNK = 64
_SHARES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Units along the first axis, a unit's places along the second.

    ``images`` float32 (units, places, *shape), ``labels`` int32 (units, places), ``present`` float32 the
    same: 1 where there is a record.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    present: NDArray[np.float32]


def units_per_chunk(records_per_unit: int) -> int:
    """How many units fit a chunk of about 64 records, at least one."""
    return max(1, _RECORDS_PER_CHUNK // records_per_unit)


def halved_units(records_per_unit: int) -> tuple[int, ...]:
    """Units of the chunks that the end of a sample may be cut into: the whole, halved down to an eighth."""
    whole = units_per_chunk(records_per_unit)
    return tuple(whole // share for share in _SHARES if whole % share == 0)


def padded_chunks(
    sample: NDArray[np.int64],
    images: NDArray[np.float32],
    labels: NDArray[np.int32],
    shapes: tuple[int, ...] | None = None,
) -> Iterator[Chunk]:
    """The records of ``sample``, int64 (units, places) with ABSENT where there is none, in fixed shapes.

    ``shapes``, falling, are the units that a chunk may have, each a multiple of the last; without it all
    chunks are whole ones. So less than one chunk of the last shape is padding.
    """
    shapes = shapes or (units_per_chunk(sample.shape[1]),)
    start = 0
    while start < len(sample):
        left = -(-(len(sample) - start) // shapes[-1]) * shapes[-1]
        padded = next(shape for shape in shapes if shape <= left)
        drawn = sample[start : start + padded]
        start += padded
        places = np.full((padded, sample.shape[1]), ABSENT)
        places[: len(drawn)] = drawn
        present = places != ABSENT
        # An absent record reads record 0 and is emptied: one copy of the images instead of three.
        chunk_images, chunk_labels = images[places * present], labels[places * present]
        chunk_images[~present] = 0
        chunk_labels[~present] = 0
        yield Chunk(chunk_images, chunk_labels, present.astype(np.float32))
