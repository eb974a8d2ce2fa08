"""Conformance of the private step as it is trained. False alarms: less than once in a million runs.

Four faults are injected beside the real thing, each invisible to some check: nine tenths of the noise, a
step that is seeded alike every time, microbatches, and division by the realised batch.
"""

import numpy as np
import pytest
from numpy.random import Generator
from randomgen import AESCounter
from scipy import stats

from fedpriv.dp import chunks, memory, noise, step
from fedpriv.dp.clipping import ROUNDING
from fedpriv.dp.sampling import PoissonSampler
from fedpriv.dp.step import PrivateStep
from fedpriv.legacy_keras import keras, tf

layers = keras.layers
FALSE_ALARM = 1e-6
CLIP, MULTIPLIER = 0.5, 2.0
SHAPE = (6, 6, 2)
RECORDS = 70


def make_model(width=8):
    keras.utils.set_random_seed(5)
    inputs = layers.Input(SHAPE)
    hidden = layers.Conv2D(width, 3)(inputs)
    hidden = layers.GroupNormalization(2)(hidden)
    hidden = layers.Activation("relu")(hidden)
    hidden = layers.Conv2D(width, 3)(hidden)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(hidden)))


@pytest.fixture(scope="module")
def model():
    return make_model()


def records(count=RECORDS):
    generator = np.random.default_rng(2)
    return generator.normal(size=(count, *SHAPE)).astype(np.float32), generator.integers(0, 3, count).astype(
        "i4"
    )


def make_step(
    model, *, images=None, labels=None, probability=1.0, expected=1.0, multiplier=MULTIPLIER, units=None
):
    if images is None:
        images, labels = records()
    units = np.arange(len(images)) if units is None else units
    sampler = PoissonSampler(units, sampling_probability=probability, records_per_unit=1)
    return PrivateStep(
        model,
        images,
        labels,
        sampler,
        l2_clip_norm=CLIP,
        noise_multiplier=multiplier,
        expected_units=expected,
    )


def signal(private_step):
    """The clipped sum of all records, without noise: known to the test only."""
    return private_step._clipped_sum(np.arange(RECORDS)[:, None])


def noises(private_step, count=60):
    """Noise of several releases at probability 1, in units of the planned deviation, (count, d)."""
    known = signal(private_step)
    return np.array([(private_step.gradient() - known) / (MULTIPLIER * CLIP) for _ in range(count)])


def variance_p(sample):
    statistic = np.square(sample).sum()
    return 2 * min(stats.chi2.cdf(statistic, sample.size), stats.chi2.sf(statistic, sample.size))


def repeat_p(sample):
    """Between successive releases: 0.5 expected squared difference a coordinate if they are independent."""
    return stats.pearsonr(sample[:-1].ravel(), sample[1:].ravel()).pvalue


def with_scaled_noise(factor):
    def scaled(dimension, standard_deviation):
        return noise.gaussian_noise(dimension, factor * standard_deviation)

    return scaled


def test_noise_has_the_planned_variance_and_nine_tenths_would_be_caught(model, monkeypatch):
    private_step = make_step(model)
    assert variance_p(noises(private_step)) > FALSE_ALARM
    monkeypatch.setattr(step, "gaussian_noise", with_scaled_noise(0.9))
    assert variance_p(noises(private_step)) < FALSE_ALARM


def test_noise_is_normal_in_every_part_of_the_vector(model):
    sample = noises(make_step(model))
    assert stats.kstest(sample.ravel(), "norm").pvalue > FALSE_ALARM
    for part in np.array_split(sample, 8, axis=1):
        assert variance_p(part) > FALSE_ALARM / 8


def test_steps_are_unrelated_and_a_reseeded_step_would_be_caught(model, monkeypatch):
    private_step = make_step(model)
    assert repeat_p(noises(private_step)) > FALSE_ALARM
    other_hospital = make_step(make_model(), images=records()[0] * 2, labels=records()[1])
    pair = np.array(
        [private_step.gradient() - signal(private_step), other_hospital.gradient() - signal(other_hospital)]
    )
    assert repeat_p(pair) > FALSE_ALARM
    monkeypatch.setattr(noise, "fresh_generator", lambda: Generator(AESCounter(key=7)))
    reseeded = noises(private_step, count=8)
    assert variance_p(reseeded[0]) > FALSE_ALARM  # invisible to the test of the variance
    assert repeat_p(reseeded) < FALSE_ALARM


def canary_p(contributions, noise_deviation):
    """The canary's clipped gradient must weigh exactly one clip norm: z-test of the mean projection."""
    z = (contributions.mean() - CLIP) / (noise_deviation / np.sqrt(len(contributions)))
    return 2 * stats.norm.sf(abs(z))


def test_a_canary_weighs_one_clip_norm_and_microbatches_would_be_caught(model):
    private_step = make_step(model, multiplier=0.2)
    alone = private_step._clipped_sum(np.array([[0]]))
    direction = alone / np.linalg.norm(alone)
    assert np.linalg.norm(alone) == pytest.approx(ROUNDING * CLIP, rel=1e-5)  # it is clipped
    others = (signal(private_step) - alone) @ direction

    def contributions(some_step):
        return np.array([some_step.gradient() @ direction - others for _ in range(60)])

    assert canary_p(contributions(private_step), 0.2 * CLIP) > FALSE_ALARM
    images, labels = records()
    in_pairs = PoissonSampler(np.arange(RECORDS) // 2, sampling_probability=1.0, records_per_unit=2)
    microbatches = PrivateStep(
        model, images, labels, in_pairs, l2_clip_norm=CLIP, noise_multiplier=0.2, expected_units=1.0
    )
    assert canary_p(contributions(microbatches), 0.2 * CLIP) < FALSE_ALARM


def test_removing_any_record_moves_the_sum_by_at_most_the_clip_norm(model):
    private_step = make_step(model)
    whole = signal(private_step)
    for record in range(0, RECORDS, 7):
        rest = np.delete(np.arange(RECORDS), record)[:, None]
        assert np.linalg.norm(whole - private_step._clipped_sum(rest)) <= CLIP * (1 + 1e-4)


def test_the_divisor_is_the_public_expectation_whatever_was_drawn(model):
    images, labels = records(4)
    private_step = make_step(model, images=images, labels=labels, probability=0.5, expected=1000.0)
    spread = np.std([private_step.gradient() for _ in range(40)])
    assert spread == pytest.approx(MULTIPLIER * CLIP / 1000, rel=0.05)


def test_an_empty_sample_is_released_as_noise_alone(model):
    images, labels = records(1)
    private_step = make_step(model, images=images, labels=labels, probability=1e-9)
    sample = np.array([private_step.gradient() for _ in range(60)]) / (MULTIPLIER * CLIP)
    assert variance_p(sample) > FALSE_ALARM
    assert stats.kstest(sample.ravel(), "norm").pvalue > FALSE_ALARM


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_poisoned_record_neither_spoils_the_step_nor_shows(model, poison):
    images, labels = records()
    images[5, 2, 2, 0] = poison
    private_step = make_step(model, images=images, labels=labels)
    clean = make_step(model)
    rest = np.delete(np.arange(RECORDS), 5)[:, None]
    assert np.linalg.norm(signal(private_step) - clean._clipped_sum(rest)) < 1e-5 * CLIP * RECORDS
    assert np.isfinite(private_step.gradient()).all()


def test_neighbouring_datasets_give_the_same_shape_type_and_nothing_else(model):
    images, labels = records()
    first = make_step(model).gradient()
    second = make_step(model, images=images[1:], labels=labels[1:]).gradient()
    assert first.shape == second.shape == (sum(int(np.prod(w.shape)) for w in model.trainable_weights),)
    assert first.dtype == second.dtype == np.float64


def test_chunks_change_nothing_but_the_memory(model, monkeypatch):
    whole = signal(make_step(model))
    monkeypatch.setattr(memory, "CHUNK_BYTES", 1)
    in_small_ones = make_step(model)
    assert in_small_ones._most_records < chunks.GRAIN
    assert np.linalg.norm(signal(in_small_ones) - whole) < 1e-5 * np.linalg.norm(whole)


@pytest.mark.parametrize("drawn", [0, 1, 17, 64])
def test_a_sample_of_any_size_is_the_sum_of_its_records(model, drawn):
    private_step = make_step(model)
    whole = private_step._clipped_sum(np.arange(drawn)[:, None])
    alone = [private_step._clipped_sum(np.array([[record]])) for record in range(drawn)]
    one_by_one = np.sum([np.zeros_like(whole), *alone], axis=0)
    assert np.linalg.norm(whole - one_by_one) <= 1e-5 * np.linalg.norm(one_by_one)


def test_patients_are_clipped_as_one(model):
    images, labels = records(12)
    sampler = PoissonSampler(np.repeat([0, 1, 2], 4), sampling_probability=1.0, records_per_unit=4)
    private_step = PrivateStep(
        model, images, labels, sampler, l2_clip_norm=CLIP, noise_multiplier=1.0, expected_units=3.0
    )
    one_patient = private_step._clipped_sum(np.arange(4)[None])
    assert np.linalg.norm(one_patient) <= CLIP
    assert np.linalg.norm(private_step._clipped_sum(np.arange(12).reshape(3, 4))) <= 3 * CLIP


def test_nothing_is_compiled_anew_as_the_batch_size_changes(model):
    private_step = make_step(model, probability=0.5)
    for drawn in range(RECORDS + 1):
        private_step._clipped_sum(np.arange(drawn)[:, None])
    assert private_step._chunk_sum.experimental_get_tracing_count() == 1


def test_weights_set_later_are_the_ones_that_are_used():
    model = make_model()
    private_step = make_step(model)
    before = signal(private_step)
    model.trainable_weights[-1].assign_add(tf.ones(3) * [2.0, 0.0, 0.0])
    assert np.linalg.norm(signal(private_step) - before) > 1e-3


@pytest.mark.parametrize(
    ("name", "value"), [("multiplier", 0.0), ("multiplier", np.nan), ("expected", 0.0), ("expected", np.inf)]
)
def test_a_step_without_noise_or_divisor_is_refused(model, name, value):
    with pytest.raises(ValueError, match=name):
        make_step(model, **{name: value})
