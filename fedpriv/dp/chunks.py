"""A sample of any size as chunks of bounded memory.

*Formal guarantee*: every drawn unit lies in exactly one chunk, with all of its drawn records.

*Edge cases*: an empty sample has no chunk. Places that hold no record are ABSENT, and must contribute
exactly zero to whatever is summed. The records of one unit are never parted, even if they alone are over the
bound.

Chunks of varying size have a multiple of :data:`GRAIN` records, so that a kernel library that prepares itself
for each size it meets (oneDNN) does so a few times, not at every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.sampling import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

GRAIN = 4
"""Records, or one unit if it has more places."""


def padded_chunks(
    sample: NDArray[np.int64], most_records: int, *, at_once: int = 1
) -> Iterator[NDArray[np.int32]]:
    """``sample``, (units drawn, places), in as few chunks of ``most_records`` as will do, alike in size.

    Their number is a multiple of ``at_once``, of how many are computed at a time, where the sample is large
    enough. A chunk is int32 (units, places), filled up with units of ABSENT places.
    """
    _, places = sample.shape
    grain = max(1, GRAIN // places)
    grains = -(-len(sample) // grain)
    turns = -(-grains // (at_once * max(1, most_records // (grain * places))))
    chunks = min(grains, at_once * turns)
    ends = [grain * (number * grains // chunks) for number in range(1, chunks + 1)]
    for start, end in zip([0, *ends], ends, strict=False):
        yield _filled_up(sample[start:end], end - start)


def equal_chunks(sample: NDArray[np.int64], units: int) -> Iterator[NDArray[np.int32]]:
    """The same, but every chunk has exactly ``units`` units, whatever was drawn.

    A kernel may sum in another order at another size, so what is computed of a unit has the same last bits
    only at the same size.
    """
    for start in range(0, len(sample), units):
        yield _filled_up(sample[start : start + units], units)


def _filled_up(drawn: NDArray[np.int64], units: int) -> NDArray[np.int32]:
    chunk = np.full((units, drawn.shape[1]), ABSENT, dtype=np.int32)
    chunk[: len(drawn)] = drawn
    return chunk
