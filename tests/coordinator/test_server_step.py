"""From a sum to the next model: by hand, for each kind of noise."""

import numpy as np
import pytest
from support.studies import DISTRIBUTED, small_study

from fedpriv.coordinator.server_step import at_start, moved
from fedpriv.secagg.ring import from_signed, quantise

START = np.array([0.5, -1.0, 2.0], dtype=np.float32)
GRADIENTS = {"A": [100, -20, 0], "B": [7, 3, -5], "C": [-50, 0, 5]}


def total_of(names, bits=24):
    return sum(from_signed(np.array(GRADIENTS[name]), bits) for name in names)


def test_a_distributed_sum_is_one_momentum_step_over_the_expected_batch():
    study = small_study(*DISTRIBUTED, ("l2_clip_norm = 1.0", "l2_clip_norm = 0.5"))
    first = moved(study, at_start(START), total_of("ABC"), ("A", "B", "C"), rounds=1)
    # 240 declared units, sampled with probability 0.25: 60 expected; 4096 levels to a clip norm of 0.5.
    gradient = np.array([57, -17, 0]) * 0.5 / 4096 / 60
    np.testing.assert_allclose(first.velocity, gradient, rtol=1e-12)
    np.testing.assert_allclose(first.vector, START - 0.5 * gradient, rtol=1e-7)
    second = moved(study, first, total_of("ABC"), ("A", "B", "C"), rounds=2)
    np.testing.assert_allclose(second.velocity, 1.9 * gradient, rtol=1e-12)


def test_who_is_missing_is_missing_from_the_divisor():
    study = small_study(*DISTRIBUTED)
    progress = moved(study, at_start(START), total_of("AC"), ("A", "C"), rounds=1)
    np.testing.assert_allclose(progress.velocity, np.array([50, -20, 5]) / 4096 / 40, rtol=1e-12)


def test_a_local_sum_is_added_as_it_is_and_leaves_no_momentum():
    study = small_study()
    updates = [np.array(update, np.float32) for update in ([0.25, 0, -0.5], [0, 0.125, 0])]
    total = sum(quantise(update, 1.0, 16) for update in updates)
    progress = moved(study, at_start(START), total, ("A", "C"), rounds=1)
    present = (100 + 60) / 240
    np.testing.assert_allclose(progress.vector, START + sum(updates) / present, atol=2e-4)
    assert not progress.velocity.any()


def test_without_averaging_the_published_model_is_the_vector():
    study, progress = small_study(*DISTRIBUTED), at_start(START)
    for rounds in (1, 2, 3):
        progress = moved(study, progress, total_of("ABC"), ("A", "B", "C"), rounds=rounds)
        assert (progress.published == progress.vector).all()
        assert progress.published.dtype == np.float32


def test_averaging_is_even_at_first_and_then_forgets():
    study = small_study(*DISTRIBUTED, ("momentum = 0.9", "momentum = 0.9\naveraging = 0.75"))
    progress, vectors = at_start(START), []
    expected = None
    for rounds in range(1, 9):
        progress = moved(study, progress, total_of("ABC"), ("A", "B", "C"), rounds=rounds)
        vectors.append(progress.vector.astype(np.float64))
        expected = np.mean(vectors, axis=0) if rounds <= 4 else 0.75 * expected + 0.25 * vectors[-1]
        np.testing.assert_allclose(progress.average, expected, rtol=1e-9)


def test_the_start_is_at_rest():
    progress = at_start(START)
    assert (progress.vector == START).all()
    assert (progress.published == START).all()
    assert progress.velocity.dtype == np.float64
    assert not progress.velocity.any()


@pytest.mark.parametrize("names", ["ABC", "AC"])
def test_nothing_moves_the_model_by_nothing(names):
    zeros = sum(from_signed(np.zeros(3, np.int64), 24) for _ in names)
    progress = moved(small_study(*DISTRIBUTED), at_start(START), zeros, tuple(names), rounds=1)
    assert (progress.vector == START).all()
