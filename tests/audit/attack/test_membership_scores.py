import numpy as np
import pytest
from scipy import stats

from fedpriv.audit.attack.membership_scores import (
    area_under_curve,
    likelihood_ratio,
    logit,
    loss_score,
    measurable_rate,
    true_positives,
)

RNG = np.random.default_rng(4)


def test_scores_of_a_confidence():
    assert loss_score(np.array([0.5])) == pytest.approx(np.log(0.5))
    assert logit(np.array([0.9])) == pytest.approx(np.log(9))
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


def test_the_likelihood_ratio_is_that_of_two_normals_with_one_deviation_each():
    shadows = np.array([[1.0, 5.0], [3.0, 7.0], [0.0, 2.0], [-2.0, 4.0]])
    inside = np.array([[True, True], [True, True], [False, False], [False, False]])
    expected = stats.norm.logpdf(1.5, [2, 6], 1) - stats.norm.logpdf(1.5, [-1, 3], 1)
    assert likelihood_ratio(np.array([1.5, 1.5]), shadows, inside) == pytest.approx(expected)


def test_an_image_in_all_shadows_is_not_judged():
    inside = np.array([[True, True], [True, False]])
    scores = likelihood_ratio(np.ones(2), RNG.random((2, 2)), inside)
    assert scores[0] == 0


def test_many_shadows_tell_what_a_threshold_on_the_loss_cannot():
    # Images differ in how hard they are far more than membership moves them.
    hard, inside = RNG.normal(0, 5, 400), RNG.random((17, 400)) < 0.5
    seen = hard + 2 * inside + RNG.normal(0, 1, (17, 400))
    ratio = likelihood_ratio(seen[0], seen[1:], inside[1:])
    assert area_under_curve(ratio, inside[0]) > 0.85
    assert area_under_curve(seen[0], inside[0]) < 0.7


def test_area_and_rates_of_a_known_order():
    scores, members = np.arange(20.0), np.arange(20) >= 10
    assert area_under_curve(scores, members) == 1.0
    assert area_under_curve(np.zeros(20), members) == 0.5
    assert true_positives(scores, members, 0.1) == 1.0
    assert true_positives(scores, ~members, 0.1) == 0.0


@pytest.mark.parametrize(
    ("non_members", "rate"), [(99, None), (100, 0.1), (200, 0.05), (999, 0.05), (1000, 0.01), (10_000, 0.001)]
)
def test_a_rate_is_given_only_if_ten_non_members_lie_beyond_it(non_members, rate):
    assert measurable_rate(non_members) == rate
