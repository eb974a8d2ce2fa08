"""A model's trainable weights as one flat vector, and back; its digest.

The vector is float32, little endian, of shape (d,): the weights in the order of ``model.trainable_weights``
(layers in the order in which the architecture makes them), each flattened with the last axis fastest. The
architecture is pinned, so the order is the same at every hospital.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.secagg.terms import model_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras

__all__ = ["dimension", "from_vector", "model_digest", "to_vector"]

VECTOR_TYPE = np.dtype("<f4")


def dimension(model: keras.Model) -> int:
    """The number d of trainable parameters."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def to_vector(model: keras.Model) -> NDArray[np.float32]:
    """The weights, float32 (d,)."""
    flat = [weight.numpy().astype(VECTOR_TYPE).ravel() for weight in model.trainable_weights]
    return np.concatenate(flat)


def from_vector(model: keras.Model, vector: NDArray[np.float32]) -> None:
    """Set the weights of ``model``; ValueError unless ``vector`` is (d,) and finite."""
    weights = model.trainable_weights
    ends = np.cumsum([int(np.prod(weight.shape)) for weight in weights])
    if vector.shape != (ends[-1],):
        raise ValueError(f"a vector of shape {vector.shape} does not fit {ends[-1]} parameters")
    if not np.isfinite(vector).all():
        raise ValueError("a model vector must be finite")
    for weight, part in zip(weights, np.split(vector, ends[:-1]), strict=True):
        weight.assign(part.reshape(weight.shape), read_value=False)
