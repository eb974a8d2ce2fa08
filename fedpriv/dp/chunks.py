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

_RECORDS_PER_CHUNK = 32


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
    """How many units fit a chunk of about 32 records, at least one."""
    return max(1, _RECORDS_PER_CHUNK // records_per_unit)


def shorter_chunks(records_per_unit: int) -> tuple[int, ...]:
    """Units of the shapes that a last chunk may have: quarters of a whole one, and the whole, rising."""
    whole = units_per_chunk(records_per_unit)
    return tuple(sorted({-(-whole * quarters // 4) for quarters in (1, 2, 3, 4)}))


def padded_chunks(
    sample: NDArray[np.int64],
    images: NDArray[np.float32],
    labels: NDArray[np.int32],
    last_units: tuple[int, ...] = (),
) -> Iterator[Chunk]:
    """The records of ``sample``, int64 (units, places) with ABSENT where there is none, in fixed shapes.

    Every chunk has the same shape, but the last takes the first of ``last_units`` that holds what is left.
    """
    units = units_per_chunk(sample.shape[1])
    for start in range(0, len(sample), units):
        drawn = sample[start : start + units]
        padded = next((shorter for shorter in last_units if len(drawn) <= shorter), units)
        places = np.full((padded, sample.shape[1]), ABSENT)
        places[: len(drawn)] = drawn
        present = places != ABSENT
        chunk_images = np.zeros((*places.shape, *images.shape[1:]), dtype=np.float32)
        chunk_labels = np.zeros(places.shape, dtype=np.int32)
        chunk_images[present] = images[places[present]]
        chunk_labels[present] = labels[places[present]]
        yield Chunk(chunk_images, chunk_labels, present.astype(np.float32))
