"""The records of one hospital, held where TensorFlow computes, and taken from there by number.

*Formal guarantee*: what :meth:`HeldRecords.take` gives at a place is a function of the record that the
place names, or a constant where it names none.

*Edge cases*: an absent place gives an image of zeros, label 0 and presence 0. It reads a blank record kept
behind the last, so that not even a record that is not finite can show through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fedpriv.legacy_keras import tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""


class HeldRecords:
    """A copy of ``images``, float32 (records, *shape), and ``labels``, int32 (records,)."""

    def __init__(self, images: NDArray[np.float32], labels: NDArray[np.int32]) -> None:
        self._blank = len(images)
        self._images = tf.concat([images, np.zeros((1, *images.shape[1:]), np.float32)], axis=0)
        self._labels = tf.concat([labels, np.zeros(1, np.int32)], axis=0)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For ``places``, int32 (units, places) with negative ones absent: images, labels and presence.

        Images (units, places, *shape) float32; labels int32 and presence float32, 1 or 0, (units, places).
        """
        present = places >= 0
        rows = tf.where(present, places, self._blank)
        return tf.gather(self._images, rows), tf.gather(self._labels, rows), tf.cast(present, tf.float32)
