"""One plain gradient, for studies that declare ``noise = "none"``: nothing is clipped or hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.chunks import padded_chunks, units_per_chunk
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
        self._images = images
        self._labels = labels
        self._sampler = sampler
        self._expected_units = expected_units
        self._dimension = dimension(model)
        places = (units_per_chunk(sampler.records_per_unit), sampler.records_per_unit)

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tf.TensorSpec((*places, *images.shape[1:]), tf.float32),
                tf.TensorSpec(places, tf.int32),
                tf.TensorSpec(places, tf.float32),
            ]
        )
        def chunk_sum(chunk_images: tf.Tensor, chunk_labels: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
            share_of_unit = present / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)
            with tf.GradientTape() as tape:
                logits = model(tf.reshape(chunk_images, [-1, *images.shape[1:]]), training=True)
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
        for chunk in padded_chunks(self._sampler.draw(), self._images, self._labels):
            total += self._chunk_sum(chunk.images, chunk.labels, chunk.present).numpy()
        return total / self._expected_units
