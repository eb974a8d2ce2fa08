"""The picture behind a gradient: change an image until its own gradient points the same way.

*Source*: Geiping et al. 2020, "Inverting gradients", equation 4 (cosine distance, total variation, Adam on
the sign of the slope). The label is given to the attacker: it can be read off the last layer anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.legacy_keras import tf
from fedpriv.model.weights import from_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras

ITERATIONS = 500

_SMOOTHNESS = 1e-2
_STEP = 0.03
_MOMENTUM, _DECAY = 0.9, 0.999
_TINY = 1e-12


class GradientMatch:
    """Inverts gradients of ``model`` at the weights ``vector``, float32 (d,), beginning at ``start``.

    ``start`` float32 (h, w, 3) is what the attacker expects before it sees anything: the public mean.
    """

    def __init__(self, model: keras.Model, vector: NDArray[np.float32], start: NDArray[np.float32]) -> None:
        from_vector(model, vector)
        self._start = start

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def slope(image: tf.Tensor, label: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as outer:
                outer.watch(image)
                with tf.GradientTape() as inner:
                    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, model(image))
                parts = inner.gradient(loss, model.trainable_weights)
                gradient = tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)
                cosine = tf.reduce_sum(gradient * target) / (tf.norm(gradient) * tf.norm(target) + _TINY)
                rough = tf.reduce_mean(tf.image.total_variation(image)) / tf.cast(tf.size(image), tf.float32)
                distance = 1.0 - cosine + _SMOOTHNESS * rough
            return tf.sign(outer.gradient(distance, image))

        self._slope = slope

    def picture(
        self, seen: NDArray[np.float64], label: int, *, iterations: int = ITERATIONS
    ) -> NDArray[np.float32]:
        """The image, float32 (h, w, 3) in [0, 1], whose gradient lies along ``seen``, float64 (d,)."""
        target = tf.constant(seen / (np.linalg.norm(seen) + _TINY), tf.float32)
        image = self._start[None].astype(np.float32)
        first, second = np.zeros_like(image), np.zeros_like(image)
        for step in range(1, iterations + 1):
            slope = self._slope(tf.constant(image), tf.constant([label]), target).numpy()
            first = _MOMENTUM * first + (1 - _MOMENTUM) * slope
            second = _DECAY * second + (1 - _DECAY) * slope**2
            size = _STEP * (1 + np.cos(np.pi * step / iterations)) / 2
            move = (first / (1 - _MOMENTUM**step)) / (np.sqrt(second / (1 - _DECAY**step)) + _TINY)
            image = np.clip(image - size * move, 0, 1).astype(np.float32)
        return np.asarray(image[0])
