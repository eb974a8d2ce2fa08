"""Steps of tensorflow-privacy; their batch is at hand.

- *DPModel*, *DPModel fast*: its Keras model; without and with its fast clipping, which has no rule for
  convolutions, so fedpriv's are lent to it.
- *DP optimizer*, *vectorised*: its Keras optimizers, one microbatch an example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_sgd_keras import CLIP, NOISE, RATE, model_and_records

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from dp_sgd_turns import Setting

    from fedpriv.legacy_keras import keras


def make_step(way: str, setting: Setting) -> Callable[[], None]:
    """One training step of ``way``, ready to be timed."""
    data = model_and_records(setting, setting.batch)
    if way.startswith("DPModel"):
        return dp_model_step(*data, fast=way == "DPModel fast")
    return optimizer_step(*data, vectorised=way == "vectorised")


def optimizer_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, *, vectorised: bool
) -> Callable[[], None]:
    """tensorflow-privacy's optimizers, one microbatch an example."""
    from fedpriv.legacy_keras import tf  # isort: skip - before anything that imports TensorFlow
    from tensorflow_privacy.privacy.optimizers import dp_optimizer_keras, dp_optimizer_keras_vectorized

    kind = (
        dp_optimizer_keras_vectorized.VectorizedDPKerasSGDOptimizer
        if vectorised
        else dp_optimizer_keras.DPKerasSGDOptimizer
    )
    optimizer = kind(
        l2_norm_clip=CLIP, noise_multiplier=NOISE, num_microbatches=len(images), learning_rate=RATE
    )

    @tf.function
    def step(batch: tf.Tensor, truth: tf.Tensor) -> None:
        with tf.GradientTape(persistent=True) as tape:
            logits = model(batch, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)
        optimizer.minimize(losses, model.trainable_weights, tape=tape)

    return lambda: step(images, labels)


def dp_model_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, *, fast: bool
) -> Callable[[], None]:
    """tensorflow-privacy's model; its default, XLA, is far slower on a CPU."""
    from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow
    from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPModel

    private = DPModel(
        l2_norm_clip=CLIP,
        noise_multiplier=NOISE,
        use_xla=False,
        layer_registry=lent_rules() if fast else None,
        inputs=model.inputs,
        outputs=model.outputs,
    )
    private.compile(
        optimizer=keras.optimizers.legacy.SGD(RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    train = private.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    return lambda: train(batches)


def lent_rules() -> object:
    """The layer rules of fedpriv in the shape of tensorflow-privacy's: squared norms instead of gradients."""
    from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow
    from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import LayerRegistry

    from fedpriv.dp import layer_gradients

    rules, lent = layer_gradients.registry(), LayerRegistry()

    def lend(
        layer: keras.layers.Layer, args: tuple, kwargs: dict, tape: object, _microbatches: object
    ) -> tuple:
        output, gradients = rules.lookup(layer)(layer, *args, **kwargs)
        tape.watch(output)

        def squared_norms(at_output: tf.Tensor) -> tf.Tensor:
            units = at_output.shape[0]
            rows = [tf.reshape(part, [units, -1]) for part in gradients(at_output, units)]
            return tf.add_n([tf.reduce_sum(tf.square(row), 1) for row in rows])

        return output, output, squared_norms

    for kind in (keras.layers.Conv2D, keras.layers.Dense, keras.layers.GroupNormalization):
        lent.insert(kind, lend)
    return lent
