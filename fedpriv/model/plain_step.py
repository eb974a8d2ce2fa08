"""One plain gradient, for studies that declare ``noise = "none"``: nothing is clipped or hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.chunks import padded_chunks
from fedpriv.dp.memory import records_per_chunk
from fedpriv.dp.records import HeldRecords
from fedpriv.legacy_keras import tf
from fedpriv.model.weights import dimension

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.dp.sampling import PoissonSampler
    from fedpriv.legacy_keras import keras


class PlainStep:
    """The private step without clipping and noise: the same sampling, the same chunks, the same divisor."""

    def __init__(
        self,
        model: keras.Model,
        images: NDArray[np.float32],
        labels: NDArray[np.int32],
        sampler: PoissonSampler,
        *,
        expected_units: float,
    ) -> None:
        self._sampler = sampler
        self._expected_units = expected_units
        self._dimension = dimension(model)
        self._most_records = records_per_chunk(model, sampler.records_per_unit)
        held = HeldRecords(images, labels)

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec((None, sampler.records_per_unit), tf.int32)]
        )
        def chunk_sum(places: tf.Tensor) -> tf.Tensor:
            chunk_images, chunk_labels, present = held.take(places)
            share_of_unit = present / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)
            with tf.GradientTape() as tape:
                logits = model(tf.reshape(chunk_images, [-1, *chunk_images.shape[2:]]), training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels=tf.reshape(chunk_labels, [-1]), logits=logits
                )
                loss = tf.reduce_sum(losses * tf.reshape(share_of_unit, [-1]))
            gradients = tape.gradient(loss, model.trainable_weights)
            return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)

        self._chunk_sum = chunk_sum

    def gradient(self) -> NDArray[np.float64]:
        """The mean gradient of a fresh sample, shape (trainable parameters,)."""
        total = np.zeros(self._dimension)
        for places in padded_chunks(self._sampler.draw(), self._most_records):
            total += self._chunk_sum(places).numpy()
        return total / self._expected_units
