"""Steps of ordinary Keras and of fedpriv, on the networks that are compared.

- *plain*: forward, backward and SGD of ordinary Keras layers in one tf.function. Its batch is at hand: it
  neither draws nor fetches one.
- *plain, our norm*: the same with fedpriv's faster group normalisation, which plain training could have too.
- *fedpriv*: the private step as a hospital trains: Poisson sampling, fetching the records, clipping, noise,
  SGD. Batches vary in size around the plain one's.
- *fedpriv, shared*: the same for noise shared among hospitals: each clipped gradient is rounded to integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from dp_sgd_turns import THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_sgd_turns import Setting

    from fedpriv.legacy_keras import keras

CLASSES = 4
CLIP, NOISE, RATE = 1.0, 1.0, 0.1
RECORDS_PER_BATCH = 4
"""A hospital's records over the expected batch: the sampling probability is its inverse."""


def make_step(way: str, setting: Setting) -> Callable[[], None]:
    """One training step of ``way``, ready to be timed."""
    if way in PRIVATE:
        model, images, labels = model_and_records(setting, RECORDS_PER_BATCH * setting.batch)
        return PRIVATE[way](model, images, labels, setting.batch)
    model, images, labels = model_and_records(setting, setting.batch)
    return plain_step(with_our_norm(model) if way == "plain, our norm" else model, images, labels)


def model_and_records(setting: Setting, records: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The trained network, as many images of noise, and labels; TensorFlow is told its number of threads."""
    from fedpriv.legacy_keras import tf
    from fedpriv.model.network import build_network, split_front
    from fedpriv.study import NetworkName

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    if setting.network == "wide-cnn":
        model = wide_cnn(setting.size)
    else:
        whole = build_network(NetworkName(setting.network), image_size=setting.size, classes=CLASSES)
        model = split_front(whole)[1]
    generator = np.random.default_rng(0)
    images = generator.standard_normal((records, *model.input_shape[1:]), dtype=np.float32)
    return model, images, generator.integers(0, CLASSES, records).astype(np.int32)


def plain_step(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """SGD on the mean loss."""
    from fedpriv.legacy_keras import keras, tf

    optimizer = keras.optimizers.legacy.SGD(RATE)

    @tf.function
    def step(batch: tf.Tensor, truth: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = model(batch, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))

    return lambda: step(images, labels)


def private_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, expected: int
) -> Callable[[], None]:
    """As a hospital trains; the batches are Poisson samples of ``expected`` records."""
    from fedpriv.dp.sampling import PoissonSampler
    from fedpriv.dp.step import PrivateStep

    sampler = PoissonSampler(np.arange(len(images)), sampling_probability=expected / len(images))
    step = PrivateStep(
        model, images, labels, sampler, l2_clip_norm=CLIP, noise_multiplier=NOISE, expected_units=expected
    )
    return descent(model, step.gradient)


def shared_noise_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, expected: int
) -> Callable[[], None]:
    """One hospital's term of a federation's step, taken as if it were the sum."""
    from fedpriv.dp.distributed_step import DistributedStep
    from fedpriv.dp.noise_shares import NoiseShares
    from fedpriv.dp.rounding import fewest_levels
    from fedpriv.dp.sampling import PoissonSampler
    from fedpriv.model.weights import dimension

    sampler = PoissonSampler(np.arange(len(images)), sampling_probability=expected / len(images))
    levels = fewest_levels(dimension(model))
    shares = NoiseShares(hospitals=3, dropouts=1, colluders=0, noise_multiplier=NOISE, levels=levels)
    step = DistributedStep(model, images, labels, sampler, l2_clip_norm=CLIP, shares=shares)
    return descent(model, lambda: step.integer_sum() * (CLIP / levels / expected))


PRIVATE = {"fedpriv": private_step, "fedpriv, shared": shared_noise_step}


def descent(model: keras.Model, gradient: Callable[[], np.ndarray]) -> Callable[[], None]:
    """SGD as a hospital does it, on the flat vector of weights."""
    from fedpriv.model.weights import from_vector, to_vector

    weights = to_vector(model)

    def take() -> None:
        nonlocal weights
        weights = weights - (RATE * gradient()).astype(np.float32)
        from_vector(model, weights)

    return take


def wide_cnn(size: int) -> keras.Model:
    """A GroupNorm CNN of 242 k parameters, all of them trained: what a step costs without a fixed front."""
    from fedpriv.legacy_keras import keras

    layers = keras.layers
    inputs = hidden = layers.Input((size, size, 3))
    for filters, strides in ((32, 2), (64, 1), (64, 2), (128, 2), (96, 2)):
        hidden = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(hidden)
        hidden = layers.GroupNormalization(8)(hidden)
        hidden = layers.Activation("relu")(hidden)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(hidden)))


def with_our_norm(model: keras.Model) -> keras.Model:
    """The same network with fedpriv's forward and backward pass in its normalisation."""
    from fedpriv.dp.layer_gradients import group_normalization
    from fedpriv.legacy_keras import keras

    class OurNorm(keras.layers.GroupNormalization):  # type: ignore[misc]
        def call(self, inputs: object) -> object:
            return group_normalization(self, inputs)[0]

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        is_norm = isinstance(layer, keras.layers.GroupNormalization)
        return (OurNorm if is_norm else type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)
