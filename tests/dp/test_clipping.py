"""Clipping against two oracles: a naive loop over units, and tensorflow-privacy itself."""

import numpy as np
import pytest

from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow

from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads, layer_registry
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import VectorizedDPKerasSGDOptimizer

from fedpriv.dp.clipping import ROUNDING, clipped_gradient_sum
from fedpriv.dp.sampling import PoissonSampler
from fedpriv.dp.step import PrivateStep
from fedpriv.model.allowlist import _TRAINABLE

layers = keras.layers
CLASSES = 3


def small_cnn():
    inputs = layers.Input((9, 8, 2))
    hidden = layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    hidden = layers.GroupNormalization(2)(hidden)
    hidden = layers.Activation("relu")(hidden)
    hidden = layers.GlobalAveragePooling2D()(hidden)
    return randomised(keras.Model(inputs, layers.Dense(CLASSES)(hidden)))


def body(*stack, shape=(9, 8, 2)):
    inputs = hidden = layers.Input(shape)
    for layer in stack:
        hidden = layer(hidden)
    if len(hidden.shape) > 2:
        hidden = layers.Flatten()(hidden)
    return randomised(keras.Model(inputs, layers.Dense(CLASSES)(hidden)))


def nested():
    inputs = layers.Input((9, 8, 2))
    return keras.Model(inputs, body(layers.Conv2D(3, 1), shape=(4, 4, 2))(layers.AveragePooling2D(2)(inputs)))


def randomised(model):
    """Every weight random, so that no gradient is 0 by accident; logits stay near 1, so none is nearly 0."""
    generator = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0.3, 0.5, weight.shape) / np.sqrt(np.prod(weight.shape[:-1])))
    return model


MODELS = {
    "small_cnn": small_cnn,
    "dense": lambda: body(layers.Flatten(), layers.Dense(5), layers.Activation("tanh")),
    "dense without bias": lambda: body(layers.Flatten(), layers.Dense(5, use_bias=False)),
    "dense on maps": lambda: body(layers.Dense(3)),
    "convolution 1 x 1": lambda: body(layers.Conv2D(3, 1)),
    "convolution 1 x 1, strides": lambda: body(layers.Conv2D(3, 1, strides=2)),
    "convolution, valid": lambda: body(layers.Conv2D(3, 3)),
    "convolution, strides": lambda: body(layers.Conv2D(3, 3, strides=(2, 3), padding="same")),
    "convolution, dilation": lambda: body(layers.Conv2D(3, 3, dilation_rate=2, padding="same")),
    "convolution, even window": lambda: body(layers.Conv2D(3, (2, 4), padding="same")),
    "depthwise": lambda: body(layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "depthwise, strides": lambda: body(layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)),
    "depthwise, dilation": lambda: body(layers.DepthwiseConv2D(3, dilation_rate=2)),
    "group norm": lambda: body(layers.Conv2D(6, 3), layers.GroupNormalization(3), layers.Activation("elu")),
    "depthwise, even window": lambda: body(
        layers.DepthwiseConv2D((2, 3), padding="same", depth_multiplier=3)
    ),
    "separable": lambda: body(layers.SeparableConv2D(5, 3, depth_multiplier=2)),
    "separable, strides": lambda: body(
        layers.SeparableConv2D(5, 3, strides=2, padding="same", use_bias=False)
    ),
    "separable, dilation": lambda: body(layers.SeparableConv2D(5, 3, dilation_rate=2, padding="same")),
    "convolution, few positions": lambda: body(layers.Conv2D(20, 3, strides=2, padding="same")),
    "convolution, few positions, dilation": lambda: body(layers.Conv2D(20, (3, 2), dilation_rate=2)),
    "group norm without offset": lambda: body(
        layers.Conv2D(4, 3), layers.GroupNormalization(2, center=False)
    ),
    "group norm without scale": lambda: body(layers.Conv2D(4, 3), layers.GroupNormalization(2, scale=False)),
    "group norm of the input": lambda: body(layers.GroupNormalization(1), layers.Activation("tanh")),
    "pooling": lambda: body(layers.Conv2D(4, 3), layers.MaxPooling2D(2), layers.AveragePooling2D(2)),
    "a model in a model": nested,
}


def batch(units, records=1, shape=(9, 8, 2)):
    generator = np.random.default_rng(units + records)
    images = generator.normal(0, 1, (units, records, *shape)).astype(np.float32)
    return images, generator.integers(0, CLASSES, (units, records)).astype(np.int32)


def unit_gradient(model, images, labels):
    """The gradient of the mean loss of one unit's records, as one float64 vector."""
    return flat(tape_gradient(model, images, labels))


def tape_gradient(model, images, labels):
    """That gradient by an ordinary tape, one tensor a weight."""
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    return tape.gradient(loss, model.trainable_weights)


def flat(gradients):
    return np.concatenate([np.asarray(g, dtype=np.float64).ravel() for g in gradients])


def naive_sum(model, images, labels, present, clip):
    total = 0.0
    for unit_images, unit_labels, unit_present in zip(images, labels, present > 0, strict=True):
        if unit_present.any():
            gradient = unit_gradient(model, unit_images[unit_present], unit_labels[unit_present])
            total = total + gradient * min(1.0, clip * ROUNDING / np.linalg.norm(gradient))
    return total


def clipped(model, images, labels, present=None, clip=1.0):
    present = np.ones(labels.shape, np.float32) if present is None else present
    return flat(clipped_gradient_sum(model, images, labels, tf.constant(present), l2_clip_norm=clip))


def median_norm(model, images, labels):
    return float(
        np.median([np.linalg.norm(unit_gradient(model, *unit)) for unit in zip(images, labels, strict=True)])
    )


def compiled_terms(model, images, labels, clip):
    """The naive loop compiled once: a unit's clipped gradient in each row, float64 (units, d)."""
    compiled = tf.function(lambda unit_images, unit_labels: tape_gradient(model, unit_images, unit_labels))
    gradients = np.array([flat(compiled(*unit)) for unit in zip(images, labels, strict=True)])
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    return gradients * np.minimum(1.0, clip * ROUNDING / norms)


def as_trained(model, images, labels, clip):
    """The sum of a private step over a sample of these records, images of one record a unit."""
    step = PrivateStep(
        model,
        images[:, 0],
        labels[:, 0],
        PoissonSampler(np.arange(len(images)), sampling_probability=1.0),
        l2_clip_norm=clip,
        noise_multiplier=1.0,
        expected_units=1.0,
    )
    return step._clipped_sum


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_naive_loop_for_every_allowed_layer_and_batch_size(name):
    model = MODELS[name]()
    images, labels = batch(64)
    clip = median_norm(model, images[:16], labels[:16])  # about half of the units are clipped
    terms = compiled_terms(model, images, labels, clip)
    found_sum = as_trained(model, images, labels, clip)
    for units in (0, 1, 17, 64):
        expected = terms[:units].sum(axis=0)
        found = found_sum(np.arange(units)[:, None])
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_naive_loop_for_patients_of_several_images(name):
    model = MODELS[name]()
    images, labels = batch(6, records=4)
    present = np.ones((6, 4), np.float32)
    present[1, 2:] = present[2, 1:] = present[5] = 0  # two, one and no record
    clip = median_norm(model, images, labels)
    expected = naive_sum(model, images, labels, present, clip)
    found = clipped(model, images, labels, present, clip)
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


def test_the_naive_loop_meets_every_layer_that_may_have_weights():
    parts = [part for build in MODELS.values() for part in build()._flatten_layers(include_self=False)]
    assert {type(part) for part in parts if part.weights and not isinstance(part, keras.Model)} == _TRAINABLE


def test_norms_are_those_of_tensorflow_privacy():
    model = body(layers.Flatten(), layers.Dense(5), layers.Activation("relu"))
    images, labels = batch(16)
    norms = clip_grads.compute_gradient_norms(
        model,
        layer_registry.make_default_layer_registry(),
        tf.constant(images[:, 0]),
        tf.constant(labels[:, 0]),
        per_example_loss_fn=lambda truth, logits, _: tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=truth, logits=logits
        ),
    )
    ours = [np.linalg.norm(unit_gradient(model, *unit)) for unit in zip(images, labels, strict=True)]
    assert norms.numpy() == pytest.approx(ours, rel=1e-5)


def test_sum_is_that_of_tensorflow_privacys_optimizer():
    model = small_cnn()
    images, labels = batch(8)
    clip = median_norm(model, images, labels)
    optimizer = VectorizedDPKerasSGDOptimizer(
        l2_norm_clip=clip * ROUNDING, noise_multiplier=0.0, num_microbatches=8, learning_rate=1.0
    )
    with tf.GradientTape() as tape:
        logits = model(images[:, 0], training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels[:, 0], logits=logits)
    pairs = optimizer._compute_gradients(losses, model.trainable_weights, tape=tape)
    theirs = 8 * flat(gradient for gradient, _ in pairs)  # it gives the mean over microbatches
    found = clipped(model, images, labels, clip=clip)
    assert np.linalg.norm(found - theirs) <= 1e-5 * np.linalg.norm(theirs)


@pytest.mark.parametrize("clip", [1e-3, 0.1, 1.0])
def test_no_unit_moves_the_sum_by_more_than_the_clip_norm(clip):
    model = small_cnn()
    images, labels = batch(12)
    images[3] *= 1e4  # a gradient far above the norm
    whole = clipped(model, images, labels, clip=clip)
    for unit in range(12):
        present = np.ones((12, 1), np.float32)
        present[unit] = 0
        moved = np.linalg.norm(whole - clipped(model, images, labels, present, clip))
        assert moved <= clip * (1 + 1e-4)
    alone = clipped(model, images[3:4], labels[3:4], clip=clip)
    assert np.linalg.norm(alone) <= clip


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_a_record_without_a_finite_gradient_contributes_exactly_nothing(poison):
    model = small_cnn()
    images, labels = batch(5)
    present = np.ones((5, 1), np.float32)
    present[2] = 0
    without = clipped(model, images, labels, present)
    images[2, 0, 4, 4, 0] = poison
    np.testing.assert_array_equal(clipped(model, images, labels), without)


def test_padding_contributes_exactly_nothing():
    model = small_cnn()
    images, labels = batch(4)
    padded_images = np.concatenate([images, np.zeros_like(images)])
    padded_labels = np.concatenate([labels, np.zeros_like(labels)])
    present = np.repeat(np.float32([1, 0]), 4)[:, None]
    found = clipped(model, padded_images, padded_labels, present)
    assert np.linalg.norm(found - clipped(model, images, labels)) <= 1e-6 * np.linalg.norm(found)
    assert not clipped(model, images, labels, np.zeros((4, 1), np.float32)).any()


def test_layers_without_a_rule_are_refused_by_name():
    images, labels = batch(2)
    with pytest.raises(ValueError, match="BatchNormalization"):
        clipped(body(layers.BatchNormalization()), images, labels)
    with pytest.raises(ValueError, match="activation must be a layer"):
        clipped(body(layers.Conv2D(2, 3, activation="relu")), images, labels)
    with pytest.raises(ValueError, match="one group"):
        clipped(body(layers.Conv2D(2, 3, groups=2)), images, labels)
    with pytest.raises(ValueError, match="channels last"):
        clipped(body(layers.Flatten(), layers.GroupNormalization(4)), images, labels)
    with pytest.raises(ValueError, match="Conv2DTranspose"):
        clipped(body(layers.Conv2DTranspose(2, 3)), images, labels)


def test_shared_weights_are_refused():
    twice = layers.Dense(16, name="twice")
    model = body(layers.Flatten(), layers.Dense(16), twice, twice)
    with pytest.raises(ValueError, match="twice is used twice"):
        clipped(model, *batch(2))


def test_taking_a_unit_away_moves_a_rounded_sum_by_at_most_the_norm():
    """All gradients lie along one axis and just at the norm, where float32 sums round most coarsely."""
    generator = np.random.default_rng(1)
    units = 64

    def total(gradients):
        rows = np.zeros((units, 1), np.float32)
        rows[: len(gradients), 0] = gradients
        return float(tf.linalg.matvec(rows, tf.ones(units), transpose_a=True).numpy()[0])

    moved = []
    for _ in range(300):
        gradients = (generator.uniform(0.5, 1, units) * ROUNDING).astype(np.float32)
        gradients[0] = np.float32(ROUNDING)
        moved.append(total(gradients) - total(gradients[1:]))
    assert ROUNDING < max(moved) <= 1.0
