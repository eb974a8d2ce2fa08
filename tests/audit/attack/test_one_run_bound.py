"""The bound against published numbers, against itself, and against mechanisms whose epsilon is known."""

import bisect

import numpy as np
import pytest
from scipy import stats

from fedpriv.audit.attack.one_run_bound import (
    chance_of,
    epsilon_ceiling,
    epsilon_lower_bound,
    planned_guesses,
)
from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon

DELTA = 1e-5


@pytest.mark.parametrize(
    ("canaries", "guesses", "right", "bound"),
    [(1000, 100, 90, 1.6261), (1000, 1000, 700, 0.7317), (5000, 200, 180, 1.7857)],
)
def test_known_answers_at_95_percent(canaries, guesses, right, bound):
    assert epsilon_lower_bound(canaries, guesses, right, delta=DELTA) == pytest.approx(bound, abs=5e-5)


@pytest.mark.parametrize(("guesses", "ceiling"), [(10, 1.05), (100, 3.49), (1000, 5.78), (5000, 7.28)])
def test_known_ceilings(guesses, ceiling):
    assert epsilon_ceiling(guesses, guesses, delta=DELTA) == pytest.approx(ceiling, abs=5e-3)


def test_without_delta_it_is_the_binomial_tail():
    bound = epsilon_lower_bound(1000, 100, 90, delta=0.0)
    share = 1 / (1 + np.exp(-bound))
    assert stats.binom.sf(89, 100, share) == pytest.approx(0.05, abs=1e-5)
    assert bound > epsilon_lower_bound(1000, 100, 90, delta=DELTA)


def test_the_slow_formula_gives_the_same_chance():
    r, v, m, epsilon = 40, 33, 60, 0.8
    q = np.exp(epsilon) / (1 + np.exp(epsilon))
    tail = [sum(stats.binom.pmf(k, r, q) for k in range(at, r + 1)) for at in range(v + 1)]
    alpha = max((tail[v - i] - tail[v]) / i for i in range(1, v + 1))
    assert chance_of(m, r, v, epsilon=epsilon, delta=1e-3) == pytest.approx(tail[v] + 2 * m * 1e-3 * alpha)


def test_guesses_of_coins_prove_nothing():
    assert epsilon_lower_bound(1000, 100, 50, delta=DELTA) == 0
    assert epsilon_lower_bound(1000, 100, 0, delta=DELTA) == 0


def test_no_outcome_gives_more_than_the_ceiling_and_each_right_guess_gives_more():
    bounds = [epsilon_lower_bound(300, 100, right, delta=DELTA) for right in range(101)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == epsilon_ceiling(300, 100, delta=DELTA)


@pytest.mark.parametrize("outcome", [(10, 11, 5), (10, 5, 6), (10, 5, -1)])
def test_what_is_no_outcome_is_refused(outcome):
    with pytest.raises(ValueError, match="no outcome"):
        epsilon_lower_bound(*outcome, delta=DELTA)


def alarms_from(canaries, guesses, epsilon):
    """The fewest right guesses whose bound lies above epsilon."""
    return bisect.bisect_right(
        range(guesses + 1), epsilon, key=lambda v: epsilon_lower_bound(canaries, guesses, v, delta=DELTA)
    )


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("canaries", "guesses"), [(1000, 100), (1000, 1000), (200, 200)])
def test_on_randomized_response_which_has_exactly_epsilon_an_alarm_is_false_in_5_percent_at_most(
    epsilon, canaries, guesses
):
    alarming, share = alarms_from(canaries, guesses, epsilon), 1 / (1 + np.exp(-epsilon))
    exact = stats.binom.sf(alarming - 1, guesses, share)
    assert 0.02 < exact <= 0.05
    trials = np.random.default_rng(3).binomial(guesses, share, 400)
    assert (trials >= alarming).sum() <= stats.binom.isf(1e-6, 400, 0.05)


def test_on_a_gaussian_with_exactly_the_epsilon_it_claims_400_trials_raise_at_most_5_percent_alarms():
    multiplier, canaries = 1.4, 1000
    epsilon = composed_epsilon([PrivacyEvent(multiplier, 1.0, 1)], DELTA).pld
    guesses = planned_guesses(canaries, 4 / multiplier, delta=DELTA)
    generator, half, alarms = np.random.default_rng(5), guesses // 2, 0
    alarming = alarms_from(canaries, guesses, epsilon)
    for _ in range(400):
        coins = generator.random(canaries) < 0.5
        ranked = coins[np.argsort(generator.normal(size=canaries) + coins / multiplier)]
        alarms += ranked[-half:].sum() + (~ranked[:half]).sum() >= alarming
    assert alarms <= 20


def test_planned_guesses_are_few_where_little_can_be_told_and_all_where_everything_can():
    few, all_ = planned_guesses(1000, 0.5, delta=DELTA), planned_guesses(1000, 12.0, delta=DELTA)
    assert few < 250
    assert all_ == 1000
