"""A federation with shared noise, in one process: real homes, journals and masks; one step is one step."""

import os
from pathlib import Path

import numpy as np
import pytest
from support.memory import PARAMETERS, MemoryFederation
from support.studies import DISTRIBUTED, study_text

from fedpriv.coordinator.rounds import claim_of
from fedpriv.coordinator.run_folder import new_run, open_run
from fedpriv.coordinator.service import first_vector
from fedpriv.dp import distributed_step
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.dp.clipping import clipped_gradient_sum
from fedpriv.dp.rounding import SHARE
from fedpriv.legacy_keras import tf
from fedpriv.model.network import build_model, split_front
from fedpriv.model.weights import from_vector
from fedpriv.node.distributed_trainer import DistributedTrainer
from fedpriv.node.events import Reserve
from fedpriv.node.hospital import Hospital, Prepared
from fedpriv.node.trainer import front_maps
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.ring import from_signed
from fedpriv.smears.generate import generate
from fedpriv.smears.index import index_images
from fedpriv.smears.load import load_images
from fedpriv.smears.manifest import Split
from fedpriv.study import parse_study

CLASSES = ("Benign", "Early", "Pre", "Pro")
FIVE = (
    "smallest_cohort = 2\ncolluders = 0\ndropouts = 1",
    "smallest_cohort = 4\ncolluders = 1\ndropouts = 1",
)
CENTRAL_CHUNK = 50


def study_for(units, multiplier=6.0):
    """One full-batch step a round; five hospitals of which one may drop out and one collude."""
    lines = "\n".join(f"{name} = {count}" for name, count in units.items())
    text = study_text(
        *DISTRIBUTED,
        FIVE,
        ("A = 100\nB = 80\nC = 60", lines),
        ("sampling_probability = 0.25", "sampling_probability = 1.0"),
    )
    return parse_study(text, "study.toml").with_noise_multiplier(multiplier)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "smears"
    return generate(folder, hospitals=5, patients_per_hospital=4, images_per_patient=3, seed=9)


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("FEDPRIV_REAL_SMEARS")
    if not folder:
        pytest.skip("FEDPRIV_REAL_SMEARS names no folder of real smears")
    return index_images(Path(folder), CLASSES).select(split=Split.TRAIN)


def by_hospital(index, size=64):
    names = sorted({entry.hospital for entry in index.entries})
    return {name: load_images(index.select(hospital=name), size) for name in names}


def with_real_trainers(folder, study, data):
    federation = MemoryFederation(folder, study)
    for name, member in federation.members.items():
        loaded = data[name]
        trainer = DistributedTrainer(study, name, loaded.images, loaded.labels, loaded.units)
        prepared = Prepared(trainer, bytes(32))
        member.node = Hospital(member.home, member.journal, lambda _, prepared=prepared: prepared)
    federation.run = new_run(federation.runs, study, first_vector(study))
    return federation


def central_gradient(study, vector, data):
    """The clipped sum over all images pooled, computed in one place, float64 (d,)."""
    front, trunk = split_front(build_model(study))
    from_vector(trunk, vector)
    maps = np.concatenate([front_maps(front, loaded.images) for loaded in data.values()])
    labels = np.concatenate([loaded.labels for loaded in data.values()])
    total = 0.0
    for start in range(0, len(maps), CENTRAL_CHUNK):
        chunk = maps[start : start + CENTRAL_CHUNK]
        parts = clipped_gradient_sum(
            trunk,
            tf.constant(chunk[:, None]),
            tf.constant(labels[start : start + CENTRAL_CHUNK, None], tf.int32),
            tf.ones((len(chunk), 1)),
            l2_clip_norm=SHARE * study.privacy.l2_clip_norm,
        )
        total = total + np.concatenate([part.numpy().ravel() for part in parts]).astype(np.float64)
    return total


@pytest.mark.parametrize("images", ["drawn", pytest.param("real", marks=pytest.mark.real_smears)])
def test_one_federated_step_is_the_same_step_on_pooled_images(images, request, tmp_path, monkeypatch):
    data = by_hospital(request.getfixturevalue(images))
    units = {name: len(loaded.labels) for name, loaded in data.items()}
    assert len(units) == 5
    study = study_for(units)
    federation = with_real_trainers(tmp_path, study, data)
    noises, draw = [], distributed_step.discrete_gaussian

    def recorded(dimension, standard_deviation):
        noises.append(draw(dimension, standard_deviation))
        return noises[-1]

    monkeypatch.setattr(distributed_step, "discrete_gaussian", recorded)
    before = federation.run.latest_vector()
    ended = federation.round()
    assert ended.outcome == "complete"
    assert len(noises) == 5
    privacy, training = study.privacy, study.training
    grid = privacy.l2_clip_norm / privacy.levels_per_clip_norm
    gradient = central_gradient(study, before, data)
    central = before - training.learning_rate * (gradient + grid * sum(noises)) / study.units
    moved = federation.run.latest_vector()
    # Each unit's rounding has variance 1/4 at most; float32 keeps 24 bits of a weight.
    quantisation = training.learning_rate * grid / study.units * 6.5 * np.sqrt(study.units / 4)
    np.testing.assert_allclose(moved, central, atol=quantisation, rtol=2**-22)
    noiseless = before - training.learning_rate * gradient / study.units
    assert np.abs(moved - noiseless).max() > 50 * quantisation  # the noise is really in there
    federation.close()


class PlantedTerms:
    """In place of training: a fixed term, in every round."""

    def __init__(self, term, bits):
        self.term = np.asarray(term, np.int64)
        self.parameters = self.term.size
        self._bits = bits

    def train(self, vector):
        return from_signed(self.term, self._bits)


@pytest.fixture
def planted(tmp_path):
    study = study_for({"A": 30, "B": 25, "C": 20, "D": 15, "E": 10})
    federation = MemoryFederation(tmp_path, study)
    half = 2 ** (study.secure_aggregation.bits - 1) - 1
    generator = np.random.default_rng(3)
    for member in federation.members.values():
        term = generator.integers(-half, half, PARAMETERS, endpoint=True)
        term[:2] = half, -half  # all five at an end of the range at once
        trainer = PlantedTerms(term, study.secure_aggregation.bits)
        member.trainer = trainer
        prepared = Prepared(trainer, bytes(32))
        member.node = Hospital(member.home, member.journal, lambda _, prepared=prepared: prepared)
    yield federation
    federation.close()


def stepped(federation, names, before=0.0):
    study = federation.study
    total = sum(federation.members[name].trainer.term for name in names)
    units = sum(study.hospitals[name] for name in names)
    grid = study.privacy.l2_clip_norm / study.privacy.levels_per_clip_norm
    return before - study.training.learning_rate * grid * total / units


def test_the_opened_sum_is_exact_to_the_ends_of_the_range(planted):
    planted.round()
    np.testing.assert_allclose(planted.run.latest_vector(), stepped(planted, "ABCDE"), rtol=1e-6)


def test_one_may_drop_out_and_two_leave_nothing(planted):
    planted.link.deaf["C"] = Stage.UPLOAD
    assert planted.round().cohort == ("A", "B", "D", "E")
    after = planted.run.latest_vector()
    np.testing.assert_allclose(after, stepped(planted, "ABDE"), rtol=1e-6)
    planted.link.deaf["E"] = Stage.UPLOAD
    assert planted.round().outcome == "failed"  # too little noise would be left: the sum stays shut
    assert (planted.run.latest_vector() == after).all()


def test_every_hospital_is_charged_what_one_trusted_trainer_would_cost(planted):
    planted.rounds(3)
    event = planted.study.cost_of(rounds=1)
    assert event.noise_multiplier == 6.0
    for name in planted.study.names:
        assert [reserve.charge for reserve in planted.events_of(name, Reserve)] == [event] * 3
    claim = claim_of(planted.run)
    assert claim.noise == "distributed"
    assert claim.epsilon == composed_epsilon([planted.study.cost_of(rounds=3)], 1e-5).pld


def test_a_resumed_run_goes_on_with_its_momentum(planted):
    whole = new_run(planted.runs, planted.study, np.zeros(PARAMETERS, np.float32))
    coordinator = planted.coordinator(whole)
    coordinator.run_round(1, 2)
    coordinator.run_round(2, 2)
    planted.round()
    again = open_run(planted.run.folder)
    planted.coordinator(again).run_round(2, 2)
    assert (again.latest_vector() == whole.latest_vector()).all()
    one_step = stepped(planted, "ABCDE")
    np.testing.assert_allclose(again.latest_vector(), (1 + 1.9) * one_step, rtol=1e-5)
