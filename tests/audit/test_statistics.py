"""The tests behind the checks: their false alarms and their power, measured."""

import numpy as np
import pytest
from scipy import stats

from fedpriv.audit.statistics import (
    FALSE_ALARM,
    binomial_p,
    chance_to_miss,
    normality_p,
    repeated_share,
    repetition_p,
    variance_p,
)

RNG = np.random.default_rng(11)
TRIALS = 1_000


def normal(rows, columns=400):
    return RNG.standard_normal((rows, columns))


HONEST = {
    "variance": lambda: variance_p(normal(3)),
    "normality": lambda: normality_p(normal(2)),
    "repetition": lambda: repetition_p(normal(3, 64)),
    "repetition between hospitals": lambda: repetition_p(normal(2, 64), normal(2, 64)),
    "binomial": lambda: binomial_p(RNG.binomial(24, 0.5, 60), 24, 0.5),
}


@pytest.mark.parametrize("name", HONEST)
def test_a_p_value_below_a_twentieth_comes_in_a_twentieth_of_honest_trials_at_most(name):
    alarms = sum(HONEST[name]() < 0.05 for _ in range(TRIALS))
    assert alarms <= stats.binom.isf(FALSE_ALARM, TRIALS, 0.05)


def test_the_stated_chance_to_miss_is_the_measured_one():
    dimension, factor = 400, 0.85
    missed = sum(variance_p(factor * normal(1, dimension)) >= FALSE_ALARM for _ in range(TRIALS))
    stated = chance_to_miss(factor, dimension, 1)
    assert 0.2 < stated < 0.8
    assert stats.binomtest(missed, TRIALS, stated).pvalue > FALSE_ALARM


@pytest.mark.parametrize("distribution", [stats.laplace(scale=2**-0.5), stats.uniform(-(3**0.5), 2 * 3**0.5)])
def test_other_distributions_of_the_same_variance_are_found(distribution):
    assert normality_p(distribution.rvs((8, 3_000), random_state=RNG)) < FALSE_ALARM
    assert variance_p(distribution.rvs((1, 3_000), random_state=RNG)) > FALSE_ALARM / 100


@pytest.mark.parametrize("shift", [0, 1, 700])
def test_a_piece_that_repeats_the_stated_share_of_another_is_found_at_any_shift(shift):
    pieces = normal(16, 1_500)
    repeated = int(repeated_share(*pieces.shape) * 1_500)
    assert repetition_p(pieces) > FALSE_ALARM
    pieces[9, :repeated] = np.roll(pieces[4], shift)[:repeated]
    assert repetition_p(pieces) < FALSE_ALARM


def test_noise_of_zeros_is_no_crash():
    assert repetition_p(np.zeros((2, 10))) == 1.0


@pytest.mark.parametrize("sizes", [np.full(60, 12), np.full(60, 24), np.tile([0, 24], 30)])
def test_batches_that_are_not_drawn_by_coins_are_found(sizes):
    assert binomial_p(sizes, 24, 0.5) < FALSE_ALARM
