"""Conformance of a hospital's term of the masked sum, as it is trained. False alarms: one in a million runs.

Four faults are injected beside the real thing: nine tenths of the noise, a step seeded alike every time, the
same seed at two hospitals, and rounding after the sum.
"""

import numpy as np
import pytest
from numpy.random import Generator
from randomgen import AESCounter
from scipy import stats

from fedpriv.dp import discrete_gaussian, distributed_step
from fedpriv.dp.chunks import equal_chunks
from fedpriv.dp.clipping import clipped_gradient_sum
from fedpriv.dp.distributed_step import DistributedStep
from fedpriv.dp.noise_shares import NoiseShares
from fedpriv.dp.rounding import SHARE
from fedpriv.dp.sampling import PoissonSampler
from fedpriv.legacy_keras import keras, tf

layers = keras.layers
FALSE_ALARM = 1e-6
CLIP, MULTIPLIER, LEVELS = 0.5, 2.0, 4096
SHARES = NoiseShares(hospitals=3, dropouts=1, colluders=0, noise_multiplier=MULTIPLIER, levels=LEVELS)
SHAPE = (6, 6, 2)
RECORDS = 70


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(5)
    inputs = layers.Input(SHAPE)
    hidden = layers.Conv2D(8, 3)(inputs)
    hidden = layers.GroupNormalization(2)(hidden)
    hidden = layers.Activation("relu")(hidden)
    hidden = layers.Conv2D(8, 3)(hidden)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(hidden)))


def records(count=RECORDS):
    generator = np.random.default_rng(2)
    images = generator.normal(size=(count, *SHAPE)).astype(np.float32)
    return images, generator.integers(0, 3, count).astype(np.int32)


def make_step(model, *, images=None, labels=None, probability=1.0, units=None, places=1, shares=SHARES):
    if images is None:
        images, labels = records()
    units = np.arange(len(images)) if units is None else units
    sampler = PoissonSampler(units, sampling_probability=probability, records_per_unit=places)
    return DistributedStep(model, images, labels, sampler, l2_clip_norm=CLIP, shares=shares)


def exact_sum(model, images, labels):
    """The clipped sum in grid steps, before any rounding."""
    present = tf.ones((len(images), 1))
    parts = clipped_gradient_sum(
        model,
        tf.constant(images[:, None]),
        tf.constant(labels[:, None]),
        present,
        l2_clip_norm=SHARE * CLIP,
    )
    return np.concatenate([part.numpy().ravel() for part in parts]).astype(np.float64) * (LEVELS / CLIP)


def everybody(count=RECORDS):
    return np.arange(count)[:, None]


def noises(step, signal, count=6):
    """Releases less the exact signal: noise and the rounding of 70 units, 10^-5 of its variance."""
    return np.array([step.integer_sum() - signal for _ in range(count)]) / SHARES.standard_deviation


def variance_p(sample):
    statistic = np.square(sample).sum()
    return 2 * min(stats.chi2.cdf(statistic, sample.size), stats.chi2.sf(statistic, sample.size))


def test_a_term_is_the_clipped_sum_up_to_rounding(model):
    step = make_step(model)
    errors = step._rounded_sum(everybody()) - exact_sum(model, *records())
    deviation = np.sqrt(RECORDS / 4)  # a coin's variance is at most 1/4 in each unit
    assert np.abs(errors).max() < 6.5 * deviation
    assert 2 * stats.norm.sf(abs(errors.mean()) * np.sqrt(errors.size) / deviation) > FALSE_ALARM


def test_noise_has_the_planned_deviation_and_shape_and_less_would_be_caught(model):
    signal = exact_sum(model, *records())
    sample = noises(make_step(model), signal)
    assert variance_p(sample) > FALSE_ALARM
    assert variance_p(0.9 * sample) < FALSE_ALARM
    assert stats.kstest(sample.ravel(), "norm").pvalue > FALSE_ALARM


def correlation_p(one, other):
    return stats.pearsonr(one.ravel(), other.ravel()).pvalue


def test_steps_and_hospitals_are_unrelated_and_a_shared_seed_would_be_caught(model, monkeypatch):
    signal = exact_sum(model, *records())
    here, there = noises(make_step(model), signal), noises(make_step(model), signal)
    assert correlation_p(here[1:], here[:-1]) > FALSE_ALARM
    assert correlation_p(here, there) > FALSE_ALARM
    monkeypatch.setattr(discrete_gaussian, "fresh_generator", lambda: Generator(AESCounter(key=7)))
    here, there = noises(make_step(model), signal), noises(make_step(model), signal)
    assert variance_p(here[0]) > FALSE_ALARM  # invisible to the test of the variance
    assert correlation_p(here[1:], here[:-1]) < FALSE_ALARM
    assert correlation_p(here, there) < FALSE_ALARM


def test_no_unit_moves_the_sum_by_more_than_the_levels(model):
    images, labels = records()
    images[::2] *= 100
    step = make_step(model, images=images, labels=labels)
    alone = np.array([step._rounded_sum(np.array([[record]])) for record in range(RECORDS)])
    norms = np.linalg.norm(alone, axis=1)
    assert (norms <= LEVELS).all()
    assert norms.max() > 0.99 * LEVELS  # clipping is at work


def test_a_units_gradient_is_the_same_to_the_last_bit_whoever_shares_its_chunk(model):
    """Else removing one unit would move the others, too, by a rounding of float32."""
    step = make_step(model)

    def gradients(order):
        (chunk,) = equal_chunks(order[:, None], step._units_per_chunk)
        return step._chunk_gradients(chunk).numpy()[: len(order)]

    whole = gradients(np.arange(64))
    for seed in range(5):
        order = np.random.default_rng(seed).integers(0, 64, 64 - 9 * seed)  # others go, and come twice
        np.testing.assert_array_equal(gradients(order), whole[order])


def test_rounding_after_the_sum_would_move_it_by_more(model):
    """Which is why each unit is rounded: floor(a + b) - floor(a) is not floor(b)."""
    rows = np.full((2, 4), 0.6)
    whole, rest = np.floor(rows.sum(axis=0)), np.floor(rows[0])
    assert np.linalg.norm(whole - rest) > np.linalg.norm(rows[1])


def test_an_empty_sample_is_noise_alone(model):
    step = make_step(model, probability=1e-9)
    sample = np.array([step.integer_sum() for _ in range(20)]) / SHARES.standard_deviation
    assert variance_p(sample) > FALSE_ALARM


def test_batch_sizes_are_binomial(model, monkeypatch):
    step, sizes = make_step(model, probability=0.3), []
    original = distributed_step.equal_chunks
    monkeypatch.setattr(
        distributed_step,
        "equal_chunks",
        lambda sample, *data: sizes.append(len(sample)) or original(sample[:0], *data),
    )
    for _ in range(400):
        step.integer_sum()
    edges = [0, 17, 20, 22, 25, RECORDS + 1]
    cumulative = stats.binom.cdf(np.array(edges) - 1, RECORDS, 0.3)
    counts = np.histogram(sizes, edges)[0]
    assert stats.chisquare(counts, 400 * np.diff(cumulative)).pvalue > FALSE_ALARM
    assert stats.chisquare([400, 0, 0, 0, 0], 400 * np.diff(cumulative)).pvalue < FALSE_ALARM


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_poisoned_record_contributes_zero(model, poison):
    images, labels = records()
    images[5, 2, 2, 0] = poison
    step = make_step(model, images=images, labels=labels)
    assert not step._rounded_sum(np.array([[5]])).any()
    rest = np.delete(np.arange(RECORDS), 5)
    errors = step._rounded_sum(everybody()) - exact_sum(model, images[rest], labels[rest])
    assert np.abs(errors).max() < 6.5 * np.sqrt(RECORDS / 4)


def test_patients_are_clipped_as_one(model):
    images, labels = records(12)
    step = make_step(model, images=images, labels=labels, units=np.repeat([0, 1, 2], 4), places=4)
    assert np.linalg.norm(step._rounded_sum(np.arange(4)[None])) <= LEVELS
    assert np.linalg.norm(step._rounded_sum(np.arange(12).reshape(3, 4))) <= 3 * LEVELS


def test_neighbouring_datasets_give_the_same_shape_and_type(model):
    images, labels = records()
    first = make_step(model).integer_sum()
    second = make_step(model, images=images[1:], labels=labels[1:]).integer_sum()
    assert first.shape == second.shape
    assert first.dtype == second.dtype == np.int64


def test_too_few_levels_for_the_network_are_refused(model):
    coarse = NoiseShares(3, 1, 0, MULTIPLIER, 2048)
    with pytest.raises(ValueError, match=r"2048 levels to a clip norm are too few .* need 4096"):
        make_step(model, shares=coarse)


@pytest.mark.parametrize("clip", [0.0, -1.0, np.nan, np.inf])
def test_a_clip_norm_that_bounds_nothing_is_refused(model, clip):
    images, labels = records(3)
    sampler = PoissonSampler(np.arange(3), sampling_probability=1.0)
    with pytest.raises(ValueError, match="l2_clip_norm"):
        DistributedStep(model, images, labels, sampler, l2_clip_norm=clip, shares=SHARES)
