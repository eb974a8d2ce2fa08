"""How much of a sample is computed on at once, from the memory that a record takes.

Few large chunks cost fewer calls, which is what a small network pays for; the bound keeps a large network,
large images or a large sample from taking more memory than the plain step does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.legacy_keras import keras

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 80 << 20

_FLOAT_BYTES = 4


def records_per_chunk(model: keras.Model, records_per_unit: int) -> int:
    """How many records' maps, their gradients and per-unit weight gradients fit :data:`CHUNK_BYTES`."""
    maps = 2 * sum(_output_sizes(model))
    weights = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return int(CHUNK_BYTES / (_FLOAT_BYTES * (maps + weights / records_per_unit)))


def _output_sizes(model: keras.Model) -> Iterator[int]:
    """Numbers in each layer's output, a record."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _output_sizes(layer)
        else:
            yield int(np.prod(layer.output.shape[1:]))
