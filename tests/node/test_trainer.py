"""A hospital's trainer: what it computes, what it costs, and that nothing but the update leaves it."""

import msgspec
import numpy as np
import pytest
from scipy import stats
from support.studies import FULL_BATCH, study_text

from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon
from fedpriv.dp.sampling import ABSENT
from fedpriv.errors import StudyError
from fedpriv.legacy_keras import tf
from fedpriv.model.network import build_model
from fedpriv.model.weights import dimension, from_vector, to_vector
from fedpriv.node.trainer import LocalTrainer, sampler_of
from fedpriv.secagg.ring import quantise
from fedpriv.study import parse_study

FALSE_ALARM = 1e-6
SMALL = ("size = 64", "size = 16")
PLANNED = ("l2_clip_norm = 1.0", "l2_clip_norm = 1.0\nnoise_multiplier = 2.0")
ONE_STEP = ("local_steps = 2", "local_steps = 1")
NO_NOISE = (
    ('noise = "local"', 'noise = "none"'),
    ("epsilon = 8.0", "epsilon = inf"),
    ("l2_clip_norm = 1.0", "l2_clip_norm = 1.0\nnoise_multiplier = 0.0"),
)


def make_study(*changes):
    return parse_study(study_text(SMALL, *changes), "study.toml")


def easy_images(count, size=16):
    """Four classes of flat colour with a little grain: learnt in a few steps."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 4, count)
    colours = np.array([[0.9, 0.8, 0.7], [0.7, 0.4, 0.6], [0.5, 0.4, 0.8], [0.8, 0.5, 0.9]])
    grain = generator.normal(0, 0.03, (count, size, size, 3))
    return np.clip(colours[labels][:, None, None] + grain, 0, 1).astype(np.float32), labels


@pytest.fixture(scope="module")
def data():
    return easy_images(80)


def trainer(study, data, hospital="B", units=None):
    images, labels = data
    return LocalTrainer(study, hospital, images, labels, np.arange(len(labels)) if units is None else units)


def accuracy(model, vector, data):
    from_vector(model, vector)
    return float((model(data[0]).numpy().argmax(axis=1) == data[1]).mean())


def test_the_update_is_one_finite_vector_and_the_trainer_says_nothing_else(data, capfd):
    study = make_study(PLANNED)
    start = to_vector(build_model(study))
    local = trainer(study, data)
    update = local.train(start)
    assert isinstance(update, np.ndarray)
    assert (update.shape, update.dtype) == (start.shape, np.float64)
    assert np.isfinite(update).all()
    assert sorted(name for name in vars(type(local)) if not name.startswith("_")) == [
        "event",
        "parameters",
        "train",
    ]
    assert all(name.startswith("_") for name in vars(local))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("update_range", [0.1, 0.05, 0.3, 1e-4])
def test_an_update_at_its_limit_is_in_range(data, update_range):
    """0.1 as float32 is more than 0.1: a hospital would charge, train, and then refuse its own update."""
    study = make_study(PLANNED, ("update_range = 1.0", f"update_range = {update_range}"))
    study = msgspec.structs.replace(
        study, training=msgspec.structs.replace(study.training, learning_rate=1000.0)
    )
    update = trainer(study, data).train(to_vector(build_model(study)))
    assert np.abs(update).max() == update_range
    values = quantise(update, study.update_range, 16)
    assert (values.min(), values.max()) == (0, 2**16 - 2)


def test_the_event_is_what_is_performed(data):
    study = make_study(PLANNED)
    event = trainer(study, data).event
    assert event == PrivacyEvent(noise_multiplier=2.0, sampling_probability=0.25, steps=2)


def test_without_noise_the_event_costs_everything(data):
    event = trainer(make_study(*NO_NOISE), data).event
    assert composed_epsilon([event], 1e-5).pld == np.inf


@pytest.mark.parametrize("held", [1, 59, 60])
def test_in_full_batches_time_is_spent_on_declared_units_not_on_held_ones(held):
    study = make_study(FULL_BATCH)
    sampler = sampler_of(study, "C", np.arange(held))
    sample = sampler.draw()
    assert len(sample) == study.hospitals["C"] == 60
    assert sorted(sample[sample != ABSENT]) == list(range(held))


def test_one_plain_step_is_the_gradient_times_the_declared_share(data):
    study = make_study(*NO_NOISE, FULL_BATCH, ONE_STEP)
    model = build_model(study)
    start = np.random.default_rng(0).normal(0, 0.3, dimension(model)).astype(np.float32)
    update = trainer(study, data).train(start)
    from_vector(model, start)
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=data[1], logits=model(data[0]))
        loss = tf.reduce_sum(losses) / 80  # declared: 80 units, probability 1
    gradient = np.concatenate([g.numpy().ravel() for g in tape.gradient(loss, model.trainable_weights)])
    share = 80 / (100 + 80 + 60)
    expected = -0.5 * share * gradient
    assert np.linalg.norm(update - expected) <= 1e-4 * np.linalg.norm(expected)


def test_momentum_carries_over_steps_and_starts_at_rest_in_every_round(data):
    start = to_vector(build_model(make_study(*NO_NOISE)))
    one = trainer(make_study(*NO_NOISE, FULL_BATCH, ONE_STEP), data).train(start)
    two = trainer(make_study(*NO_NOISE, FULL_BATCH), data)
    first, second = two.train(start), two.train(start)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.linalg.norm(first) > 2.2 * np.linalg.norm(one)  # 1 + (1 + 0.9), less what the second step bends


def test_two_updates_from_one_model_differ_by_fresh_noise_of_the_planned_size(data):
    study = make_study(PLANNED, ONE_STEP, FULL_BATCH)
    local = trainer(study, data)
    start = to_vector(build_model(study))
    share = 80 / 240
    deviation = share * 0.5 * 2.0 * 1.0 / 80
    differences = np.array([local.train(start) - local.train(start) for _ in range(8)], dtype=np.float64)
    statistic = np.square(differences / (np.sqrt(2) * deviation)).sum()
    two_sided = 2 * min(
        stats.chi2.cdf(statistic, differences.size), stats.chi2.sf(statistic, differences.size)
    )
    assert two_sided > FALSE_ALARM
    assert stats.chi2.cdf(0.81 * statistic, differences.size) < FALSE_ALARM  # nine tenths of the noise


def test_the_divisor_is_declared_not_counted(data):
    study = make_study(*NO_NOISE, FULL_BATCH, ONE_STEP)
    start = to_vector(build_model(study))
    half = (data[0][:40], data[1][:40])
    doubled = (np.concatenate([half[0]] * 2), np.concatenate([half[1]] * 2))
    few, many = trainer(study, half).train(start), trainer(study, doubled).train(start)
    np.testing.assert_allclose(2 * few, many, rtol=1e-3, atol=1e-6)


def test_no_coordinate_leaves_the_declared_range(data):
    study = make_study(PLANNED, ("update_range = 1.0", "update_range = 0.001"))
    update = trainer(study, data).train(to_vector(build_model(study)))
    assert np.abs(update).max() == pytest.approx(0.001)


def test_patients_are_the_unit_where_the_study_says_so(data):
    patients = make_study(
        PLANNED, ('unit = "image"', 'unit = "patient"\nimages_per_patient = 4'), FULL_BATCH, ONE_STEP
    )
    local = trainer(patients, data, units=np.arange(80) // 10)
    update = local.train(to_vector(build_model(patients)))
    assert np.isfinite(update).all()
    assert local.event == PrivacyEvent(2.0, 1.0, 1)


def test_a_broken_image_does_not_stop_the_round(data):
    images, labels = data[0].copy(), data[1]
    images[7] = np.nan
    study = make_study(PLANNED, FULL_BATCH)
    update = trainer(study, (images, labels)).train(to_vector(build_model(study)))
    assert np.isfinite(update).all()


def test_three_hospitals_learn_together_with_noise(data):
    study = make_study(
        ("l2_clip_norm = 1.0", "l2_clip_norm = 1.0\nnoise_multiplier = 0.6"),
        FULL_BATCH,
        ("local_steps = 2", "local_steps = 8"),
        ("A = 100\nB = 80\nC = 60", "A = 80\nB = 80\nC = 80"),
    )
    model = build_model(study)
    vector = to_vector(model)
    hospitals = [trainer(study, data, hospital=name) for name in study.names]
    assert accuracy(model, vector, data) < 0.5
    for _ in range(4):
        vector = vector + sum(hospital.train(vector) for hospital in hospitals)
    assert accuracy(model, vector, data) > 0.8


def test_a_model_of_another_size_is_refused(data):
    study = make_study(PLANNED)
    with pytest.raises(ValueError, match="does not fit"):
        trainer(study, data).train(np.zeros(5, np.float32))


def test_a_study_without_planned_noise_is_refused(data):
    with pytest.raises(StudyError, match="noise_multiplier"):
        trainer(make_study(), data)


def test_noise_that_is_not_trained_here_is_refused(data):
    distributed = ('noise = "local"', 'noise = "distributed"')
    with pytest.raises(StudyError, match="distributed"):
        trainer(make_study(PLANNED, distributed, ONE_STEP), data)
