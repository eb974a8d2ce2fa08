"""A patient as the unit, through sampler and step, on different networks and uneven numbers of images."""

import numpy as np
import pytest

from fedpriv.dp.clipping import ROUNDING
from fedpriv.dp.distributed_step import DistributedStep
from fedpriv.dp.noise_shares import NoiseShares
from fedpriv.dp.rounding import SHARE
from fedpriv.dp.sampling import PoissonSampler
from fedpriv.dp.step import PrivateStep
from fedpriv.legacy_keras import keras, tf

layers = keras.layers
SHAPE = (8, 8, 3)
IMAGES_OF = (1, 3, 2, 5, 4, 1)  # of each patient
LIMIT = 3
CLIP, LEVELS = 0.05, 2**16  # far below the norm of any gradient here
SHARES = NoiseShares(hospitals=3, dropouts=1, colluders=0, noise_multiplier=1.0, levels=LEVELS)

NETWORKS = {
    "convolutions": (
        layers.Conv2D(6, 3),
        layers.GroupNormalization(2),
        layers.Activation("relu"),
        layers.Conv2D(6, 3, strides=2),
        layers.GlobalAveragePooling2D(),
    ),
    "separable": (layers.SeparableConv2D(5, 3), layers.Activation("relu"), layers.Flatten()),
    "dense": (layers.Flatten(), layers.Dense(7), layers.Activation("relu")),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    keras.utils.set_random_seed(3)
    inputs = hidden = layers.Input(SHAPE)
    for layer in NETWORKS[request.param]:
        hidden = layer(hidden)
    return keras.Model(inputs, layers.Dense(4)(hidden))


def data():
    generator = np.random.default_rng(6)
    units = np.repeat(np.arange(len(IMAGES_OF)), IMAGES_OF)
    order = generator.permutation(len(units))  # a patient's images do not lie together
    images = generator.normal(size=(len(units), *SHAPE)).astype(np.float32)
    return images, generator.integers(0, 4, len(units)).astype(np.int32), units[order]


def sampler(units, probability=1.0):
    return PoissonSampler(units, sampling_probability=probability, records_per_unit=LIMIT)


def local(network, images, labels, units):
    step = PrivateStep(
        network,
        images,
        labels,
        sampler(units),
        l2_clip_norm=CLIP,
        noise_multiplier=1.0,
        expected_units=len(IMAGES_OF),
    )
    return lambda sample: step._clipped_sum(sample) / CLIP


def distributed(network, images, labels, units):
    step = DistributedStep(network, images, labels, sampler(units), l2_clip_norm=CLIP, shares=SHARES)
    return lambda sample: step._rounded_sum(sample) / LEVELS


def patient_term(network, images, labels, records, bound):
    """The clipped mean of one patient's gradients in clip norms, one image at a time through the tape."""
    gradients = []
    for record in records:
        with tf.GradientTape() as tape:
            logits = network(images[record][None], training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels[record][None], logits=logits)
        parts = tape.gradient(loss, network.trainable_weights)
        gradients.append(np.concatenate([part.numpy().ravel() for part in parts]).astype(np.float64))
    mean = np.mean(gradients, axis=0)
    return mean * min(1.0, bound * CLIP / np.linalg.norm(mean)) / CLIP


KINDS = pytest.mark.parametrize(
    ("kind", "bound", "tolerance"),
    [(local, ROUNDING, 1e-5), (distributed, SHARE * ROUNDING, 1e-3)],
    ids=["local", "distributed"],
)


@KINDS
def test_the_sum_is_that_of_each_patients_clipped_mean(network, kind, bound, tolerance):
    images, labels, units = data()
    sample = sampler(units).draw()
    assert (sample >= 0).sum(axis=1).tolist() == [min(LIMIT, count) for count in IMAGES_OF]
    expected = sum(patient_term(network, images, labels, places[places >= 0], bound) for places in sample)
    found = kind(network, images, labels, units)(sample)
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


@KINDS
def test_removing_a_patient_moves_the_sum_by_one_clip_norm_at_most(network, kind, bound, tolerance):
    images, labels, units = data()
    total = kind(network, images, labels, units)
    sample = sampler(units).draw()
    moved = [
        np.linalg.norm(total(sample) - total(np.delete(sample, patient, axis=0)))
        for patient in range(len(IMAGES_OF))
    ]
    slack = 1e-6 if kind is local else len(IMAGES_OF) * np.sqrt(len(total(sample))) / LEVELS  # fresh coins
    assert max(moved) <= 1 + slack
    assert min(moved) > 0.9


def test_with_images_as_units_the_same_patient_would_move_it_by_more(network):
    """What the unit is for: five images of one patient, clipped one by one."""
    images, labels, units = data()
    same = np.flatnonzero(units == 3)
    images[same], labels[same] = images[same[0]], labels[same[0]]
    total = local(network, images, labels, np.arange(len(images)))
    everybody = np.stack([np.arange(len(images)), *[np.full(len(images), -1)] * (LIMIT - 1)], axis=1)
    moved = np.linalg.norm(total(everybody) - total(np.delete(everybody, same, axis=0)))
    assert moved > 4.9
