"""A hospital's trainer for shared noise: ring values out, nothing else, and the numbers it refuses."""

import numpy as np
import pytest
from support.studies import DISTRIBUTED, small_study

from fedpriv.dp import distributed_step
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import StudyError
from fedpriv.model.network import build_model
from fedpriv.model.weights import to_vector
from fedpriv.node.distributed_trainer import DistributedTrainer
from fedpriv.node.training import FixedPoint, trainer_for
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import dequantise_sum

SMALL = ("size = 64", "size = 16")
FULL = ("sampling_probability = 0.25", "sampling_probability = 1.0")


def images(count=40):
    generator = np.random.default_rng(1)
    return (
        generator.uniform(size=(count, 16, 16, 3)).astype(np.float32),
        generator.integers(0, 4, count),
        np.arange(count),
    )


@pytest.fixture(scope="module")
def study():
    return small_study(*DISTRIBUTED, SMALL, FULL)


@pytest.fixture(scope="module")
def trainer(study):
    return DistributedTrainer(study, "A", *images())


def test_a_term_is_one_vector_of_ring_values_and_nothing_else_is_said(study, trainer, capfd):
    start = to_vector(build_model(study))
    term = trainer.train(start)
    assert (term.shape, term.dtype) == (start.shape, np.int64)
    assert term.min() >= 0
    assert term.max() < 2**24
    assert trainer.parameters == start.size
    assert [name for name in vars(type(trainer)) if not name.startswith("_")] == ["parameters", "train"]
    assert all(name.startswith("_") for name in vars(trainer))
    assert capfd.readouterr() == ("", "")


def test_two_terms_from_one_model_differ_by_fresh_noise(study, trainer):
    start = to_vector(build_model(study))
    difference = trainer.train(start) - trainer.train(start)
    assert difference.std() == pytest.approx(np.sqrt(2) * study.noise_shares.standard_deviation, rel=0.1)


def test_a_value_that_does_not_fit_is_never_sent(study, trainer, monkeypatch):
    monkeypatch.setattr(
        distributed_step, "discrete_gaussian", lambda dimension, _: np.full(dimension, 2**23, np.int64)
    )
    with pytest.raises(RuleBroken) as refused:
        trainer.train(to_vector(build_model(study)))
    assert refused.value.code is RefusalCode.UPDATE_UNUSABLE


def test_more_units_than_fit_are_refused_with_the_limit_and_not_with_their_number(study):
    most = study.noise_shares.most_units(24)
    assert most > 100
    few_bits = small_study(*DISTRIBUTED[:-1], ("bits = 16", "bits = 21"), SMALL)
    held = few_bits.noise_shares.most_units(21)
    with pytest.raises(StudyError, match=f"more units here than values of 21 bits .* {held} of 4096"):
        DistributedTrainer(few_bits, "A", *images(held + 1))


def test_too_few_levels_for_the_network_are_refused():
    coarse = small_study(*DISTRIBUTED, ("= 4096", "= 1024"), SMALL)
    with pytest.raises(StudyError, match="1024 levels to a clip norm are too few"):
        DistributedTrainer(coarse, "A", *images())


def test_a_model_of_another_size_is_refused(trainer):
    with pytest.raises(ValueError, match="does not fit"):
        trainer.train(np.zeros(5, np.float32))


def test_the_study_decides_who_trains(study):
    assert isinstance(trainer_for(study, "A", *images()), DistributedTrainer)
    local = trainer_for(small_study(SMALL), "A", *images())
    assert isinstance(local, FixedPoint)
    values = local.train(to_vector(build_model(small_study(SMALL))))
    assert values.dtype == np.int64
    update = dequantise_sum(values, 1, 1.0, 16)
    assert 0 < np.abs(update).max() <= 1.0


def test_charges_of_both_kinds_add_up_on_one_dataset(study):
    local, shared = small_study().cost_of(rounds=2), study.cost_of(rounds=3)
    together = composed_epsilon([local, shared], 1e-5)
    alone = [composed_epsilon([event], 1e-5).pld for event in (local, shared)]
    assert max(alone) < together.pld < sum(alone)
    assert together.pld <= together.rdp
