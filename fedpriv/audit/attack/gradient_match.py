"""The picture behind a gradient: change an image until its own gradient points the same way.

*Source*: Geiping et al. 2020, "Inverting gradients", equation 4 (cosine distance, total variation, Adam on
the sign of the slope). The label is given to the attacker: it can be read off the last layer anyway.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.legacy_keras import tf
from fedpriv.model.weights import from_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras

ITERATIONS = 300

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
        self._start = tf.constant(start[None], tf.float32)

        def slope(image: tf.Tensor, label: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as outer:
                outer.watch(image)
                with tf.GradientTape() as inner:
                    loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], model(image))
                parts = inner.gradient(loss, model.trainable_weights)
                gradient = tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)
                cosine = tf.reduce_sum(gradient * target) / (tf.norm(gradient) * tf.norm(target) + _TINY)
                rough = tf.reduce_mean(tf.image.total_variation(image)) / tf.cast(tf.size(image), tf.float32)
                distance = 1.0 - cosine + _SMOOTHNESS * rough
            return outer.gradient(distance, image)

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def descend(
            image: tf.Tensor, label: tf.Tensor, target: tf.Tensor, iterations: tf.Tensor
        ) -> tf.Tensor:
            first, second = tf.zeros_like(image), tf.zeros_like(image)
            for number in tf.range(iterations):
                step = tf.cast(number + 1, tf.float32)
                sign = tf.sign(slope(image, label, target))
                first = _MOMENTUM * first + (1.0 - _MOMENTUM) * sign
                second = _DECAY * second + (1.0 - _DECAY) * sign * sign
                size = _STEP * (1.0 + tf.cos(math.pi * step / tf.cast(iterations, tf.float32))) / 2.0
                unbiased = tf.sqrt(second / (1.0 - _DECAY**step)) + _TINY
                image = tf.clip_by_value(image - size * first / (1.0 - _MOMENTUM**step) / unbiased, 0.0, 1.0)
            return image

        self._descend = descend

    def picture(
        self, seen: NDArray[np.float64], label: int, *, iterations: int = ITERATIONS
    ) -> NDArray[np.float32]:
        """The image, float32 (h, w, 3) in [0, 1], whose gradient lies along ``seen``, float64 (d,)."""
        target = tf.constant(seen / (np.linalg.norm(seen) + _TINY), tf.float32)
        found = self._descend(self._start, tf.constant(label), target, tf.constant(iterations))
        return np.asarray(found.numpy()[0])
