"""A sample of any size as chunks of bounded memory.

*Formal guarantee*: every drawn unit lies in exactly one chunk, with all of its drawn records.

*Edge cases*: an empty sample has no chunk. Places that hold no record are ABSENT, and must contribute
exactly zero to whatever is summed. The records of one unit are never parted, even if they alone are over the
bound.

Chunks have a multiple of :data:`GRAIN` records, so that a kernel library that prepares itself for each size
it meets (oneDNN) does so a few times, not at every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.sampling import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

GRAIN = 8
"""Records, or one unit if it has more places."""


def padded_chunks(sample: NDArray[np.int64], most_records: int) -> Iterator[NDArray[np.int32]]:
    """``sample``, (units drawn, places), in as few chunks of ``most_records`` as will do, alike in size.

    A chunk is int32 (units, places), filled up with units of ABSENT places.
    """
    _, places = sample.shape
    grain = max(1, GRAIN // places)
    grains = -(-len(sample) // grain)
    chunks = -(-grains // max(1, most_records // (grain * places)))
    ends = [grain * (number * grains // chunks) for number in range(1, chunks + 1)]
    for start, end in zip([0, *ends], ends, strict=False):
        chunk = np.full((end - start, places), ABSENT, dtype=np.int32)
        drawn = sample[start:end]
        chunk[: len(drawn)] = drawn
        yield chunk
