"""Each record's gradient by the slowest and plainest way, to hold the trainers against.

One record at a time through TensorFlow's own tape: no chunks, no clipping, no rule of a layer; nothing of
`fedpriv.dp` takes part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.legacy_keras import tf
from fedpriv.model.weights import from_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras


def record_gradients(
    model: keras.Model,
    vector: NDArray[np.float32],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The gradient of each record's cross-entropy at the weights ``vector``, float64 (n, d)."""
    from_vector(model, vector)
    rows = []
    for image, label in zip(images, labels, strict=True):
        with tf.GradientTape() as tape:
            logits = model(image[None], training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[label], logits=logits)
        parts = tape.gradient(loss, model.trainable_weights)
        rows.append(np.concatenate([part.numpy().ravel() for part in parts]))
    return np.array(rows, dtype=np.float64)
