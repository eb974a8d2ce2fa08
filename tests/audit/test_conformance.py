"""The checks hold for what is installed, and each injected fault fails the one check that is made for it."""

import secrets

import msgspec
import numpy as np
import pytest
from numpy.random import Generator
from randomgen import AESCounter

from fedpriv.audit.conformance import CheckName, checks, installed_mechanisms
from fedpriv.dp import clipping, distributed_step, step
from fedpriv.dp.distributed_step import DistributedStep
from fedpriv.dp.noise import gaussian_noise
from fedpriv.dp.sampling import ABSENT, PoissonSampler
from fedpriv.dp.step import PrivateStep
from fedpriv.errors import Refused, StudyError
from fedpriv.legacy_keras import keras, tf
from fedpriv.model import allowlist
from fedpriv.model.network import build_model
from fedpriv.node import distributed_trainer, trainer

LOCAL, DISTRIBUTED, LOCAL_PATIENTS, DISTRIBUTED_PATIENTS = installed_mechanisms()


OF_NOISE = frozenset(
    {CheckName.VARIANCE, CheckName.NORMALITY, CheckName.STEPS, CheckName.HOSPITALS, CheckName.EMPTY_BATCH}
)
AROUND = frozenset({CheckName.NEIGHBOURS, CheckName.LAYERS})
OF_RECORDS = frozenset(CheckName) - OF_NOISE - AROUND


def failed(study, names):
    return {check.name for check in checks(study) if check.name in names and not check.run().holds}


def family(name):
    (found,) = [names for names in (OF_NOISE, AROUND, OF_RECORDS) if name in names]
    return found


@pytest.fixture(scope="module", autouse=True)
def one_network():
    """Trainers share one network, whose weights each of them sets before a step: half of their start-up."""
    network = build_model(LOCAL)
    with pytest.MonkeyPatch.context() as patch:
        for module in (trainer, distributed_trainer):
            patch.setattr(module, "build_model", lambda study: network)
        yield


@pytest.mark.parametrize("study", installed_mechanisms(), ids=lambda study: study.study.name)
def test_what_is_installed_conforms(study):
    """What is no matter of the unit is measured for images alone; the command measures all."""
    for check in checks(study):
        if study.privacy.unit == "patient" and check.name not in OF_RECORDS:
            continue
        finding = check.run()
        assert finding.holds, (check.name, finding)
        assert finding.observed
        assert finding.catches


# Faults of the noise.


def nine_tenths_of_the_noise(patch):
    patch.setattr(
        step, "gaussian_noise", lambda dimension, deviation: gaussian_noise(dimension, 0.9 * deviation)
    )


def laplace_noise(patch):
    def laplace(dimension, deviation):
        return Generator(AESCounter()).laplace(scale=deviation / np.sqrt(2), size=dimension)

    patch.setattr(step, "gaussian_noise", laplace)


def with_noise_of(patch, noise_of):
    """Every step gets its noise from ``noise_of(step)``, standard normal (d,)."""

    def gradient(self):
        total = self._clipped_sum(self._sampler.draw())
        return (total + self._noise_deviation * noise_of(self)) / self._expected_units

    patch.setattr(PrivateStep, "gradient", gradient)


def a_step_that_is_seeded_again(patch):
    keys = {}

    def noise_of(some_step):
        _, key = keys.setdefault(id(some_step), (some_step, secrets.randbits(128)))
        return Generator(AESCounter(key=key)).standard_normal(some_step._dimension)

    with_noise_of(patch, noise_of)


def the_same_seed_at_two_hospitals(patch):
    streams = {}

    def noise_of(some_step):
        _, stream = streams.setdefault(id(some_step), (some_step, Generator(AESCounter(key=7))))
        return stream.standard_normal(some_step._dimension)

    with_noise_of(patch, noise_of)


def an_empty_batch_without_noise(patch):
    honest = PrivateStep.gradient

    def gradient(self):
        drawn = self._sampler.draw()
        return honest(self) if len(drawn) else np.zeros(self._dimension)

    patch.setattr(PrivateStep, "gradient", gradient)


# Faults of what one record can do.


def microbatches(patch):
    honest = clipping.clipped_gradient_sum

    def in_pairs(model, images, labels, present, *, l2_clip_norm):
        shape = (tf.shape(labels)[0] // 2, 2)
        return honest(
            model,
            tf.reshape(images, [*shape, *images.shape[2:]]),
            tf.reshape(labels, shape),
            tf.reshape(present, shape),
            l2_clip_norm=l2_clip_norm,
        )

    patch.setattr(step, "clipped_gradient_sum", in_pairs)


def no_clipping(patch):
    patch.setattr(clipping.clip_grads, "compute_clip_weights", lambda norm, norms: tf.ones_like(norms))


def the_realised_batch_as_divisor(patch):
    def gradient(self):
        drawn = self._sampler.draw()
        noise = gaussian_noise(self._dimension, self._noise_deviation)
        realised = np.count_nonzero(drawn[:, 0] != ABSENT)
        return (self._clipped_sum(drawn) + noise) / (realised or self._expected_units)

    patch.setattr(PrivateStep, "gradient", gradient)


def shuffled_batches_of_a_fixed_size(patch):
    def draw(self):
        count = round(self._probability * len(self._units))
        drawn = np.random.default_rng().permutation(len(self._units))[:count]
        sample = np.full((count, self.records_per_unit), ABSENT)
        for place, number in zip(sample, drawn, strict=True):
            place[: len(self._units[number])] = self._units[number]
        return sample

    patch.setattr(PoissonSampler, "draw", draw)


def nan_that_passes(patch):
    patch.setattr(tf.math, "is_finite", lambda values: tf.ones_like(values, dtype=tf.bool))


# Faults around the mechanism.


def a_batch_size_in_the_log(patch):
    honest = PoissonSampler.draw

    def draw(self):
        drawn = honest(self)
        print("batch of", len(drawn))  # noqa: T201
        return drawn

    patch.setattr(PoissonSampler, "draw", draw)


def a_list_of_forbidden_layers(patch):
    def deny(layer):
        if type(layer) is keras.layers.BatchNormalization:
            raise Refused("BatchNormalization is forbidden")

    patch.setattr(allowlist, "_check_layer", deny)


FAULTS = {
    nine_tenths_of_the_noise: CheckName.VARIANCE,
    laplace_noise: CheckName.NORMALITY,
    a_step_that_is_seeded_again: CheckName.STEPS,
    the_same_seed_at_two_hospitals: CheckName.HOSPITALS,
    an_empty_batch_without_noise: CheckName.EMPTY_BATCH,
    no_clipping: CheckName.SENSITIVITY,
    microbatches: CheckName.CANARY,
    the_realised_batch_as_divisor: CheckName.DIVISOR,
    shuffled_batches_of_a_fixed_size: CheckName.BATCH_SIZES,
    nan_that_passes: CheckName.BROKEN_RECORDS,
    a_batch_size_in_the_log: CheckName.NEIGHBOURS,
    a_list_of_forbidden_layers: CheckName.LAYERS,
}


def test_every_check_has_a_fault():
    assert set(FAULTS.values()) == set(CheckName)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_fails_the_check_that_is_made_for_it_and_no_other(fault, monkeypatch):
    fault(monkeypatch)
    assert failed(LOCAL, family(FAULTS[fault])) == {FAULTS[fault]}


def too_little_in_a_share(patch):
    honest = distributed_step.discrete_gaussian
    patch.setattr(
        distributed_step, "discrete_gaussian", lambda dimension, deviation: honest(dimension, 0.9 * deviation)
    )


def a_share_that_is_drawn_once(patch):
    shares = {}

    def integer_sum(self):
        _, share = shares.setdefault(
            id(self),
            (self, distributed_step.discrete_gaussian(self._dimension, self._shares.standard_deviation)),
        )
        return self._rounded_sum(self._sampler.draw()) + share

    patch.setattr(DistributedStep, "integer_sum", integer_sum)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (too_little_in_a_share, CheckName.VARIANCE),
        (a_share_that_is_drawn_once, CheckName.STEPS),
        (nan_that_passes, CheckName.BROKEN_RECORDS),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_faults_of_distributed_noise_are_found_in_the_share(fault, expected, monkeypatch):
    fault(monkeypatch)
    assert failed(DISTRIBUTED, family(expected)) == {expected}


def images_as_units(patch):
    honest = trainer.PoissonSampler
    patch.setattr(
        trainer, "PoissonSampler", lambda units, **options: honest(np.arange(len(units)), **options)
    )


@pytest.mark.parametrize("study", [LOCAL_PATIENTS, DISTRIBUTED_PATIENTS], ids=["local", "distributed"])
def test_patients_who_are_sampled_and_clipped_image_by_image_are_found(study, monkeypatch):
    """A patient would weigh as much as all of its images together."""
    images_as_units(monkeypatch)
    assert failed(study, {CheckName.SENSITIVITY, CheckName.CANARY}) == {
        CheckName.SENSITIVITY,
        CheckName.CANARY,
    }


def test_a_study_without_noise_has_nothing_to_conform_to():
    privacy = msgspec.structs.replace(LOCAL.privacy, noise="none", epsilon=float("inf"), noise_multiplier=0.0)
    with pytest.raises(StudyError, match="nothing to conform to"):
        checks(msgspec.structs.replace(LOCAL, privacy=privacy))
