"""What several units of one person cost together, against closed forms and integrals computed another way."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon
from fedpriv.dp.group_loss import group_loss

DELTA = 1e-5


def gaussian_epsilon(mu):
    """Balle and Wang 2018, theorem 8, at DELTA."""

    def excess(epsilon):
        return (
            stats.norm.cdf(mu / 2 - epsilon / mu)
            - math.exp(epsilon + stats.norm.logcdf(-mu / 2 - epsilon / mu))
            - DELTA
        )

    return optimize.brentq(excess, 0, 2000, xtol=1e-10)


@pytest.mark.parametrize(("noise", "steps", "size"), [(13.9, 100, 2), (13.9, 100, 37), (40.0, 50, 10)])
def test_in_full_batches_a_group_is_one_unit_of_so_many_clip_norms(noise, steps, size):
    exact = gaussian_epsilon(size * math.sqrt(steps) / noise)
    found = composed_epsilon([PrivacyEvent(noise, 1.0, steps)], DELTA, group_size=size)
    assert exact - 1e-9 <= found.pld <= exact * 1.001 + 1e-4
    assert found.rdp >= found.pld


def one_step_deltas(epsilon, noise, probability, size):
    """Both directions by quadrature of the positive parts: no root is sought, nothing is cut into cells."""
    outputs, step = np.linspace(-12 * noise, size + 12 * noise, 400_001, retstep=True)
    counts = np.arange(size + 1)
    weights = [math.comb(size, i) * probability**i * (1 - probability) ** (size - i) for i in counts]
    present = sum(w * stats.norm.pdf(outputs, i, noise) for i, w in zip(counts, weights, strict=True))
    absent = stats.norm.pdf(outputs, 0, noise)
    return [
        float(np.maximum(one - math.exp(epsilon) * other, 0).sum() * step)
        for one, other in ((present, absent), (absent, present))
    ]


@pytest.mark.parametrize(("noise", "probability", "size"), [(1.0, 0.1, 3), (2.0, 0.5, 4), (1.0, 0.02, 10)])
def test_one_sampled_step_of_a_group_costs_what_the_integral_says(noise, probability, size):
    losses = group_loss(noise, probability, size, 0.02)
    for epsilon in (0.0, 0.1, 0.5, 1.0, 3.0):
        exact = one_step_deltas(epsilon, noise, probability, size)
        assert losses.get_delta_for_epsilon(epsilon) == pytest.approx(max(exact), rel=2e-3, abs=1e-12)
        sides = [losses._pmf_remove, losses._pmf_add]
        for found, wanted in zip(sides, exact, strict=True):
            assert found.get_delta_for_epsilon(epsilon) == pytest.approx(wanted, rel=2e-3, abs=1e-9)


def test_a_group_of_one_is_a_unit():
    event = PrivacyEvent(2.0, 0.3, 20)
    alone = composed_epsilon([event], DELTA)
    assert composed_epsilon([event], DELTA, group_size=1) == alone
    composed = group_loss(2.0, 0.3, 1, alone.rdp / 3000).self_compose(20)
    assert composed.get_epsilon_for_delta(DELTA) == pytest.approx(alone.pld, rel=1e-4)


def test_sampling_protects_a_group_and_multiplying_would_claim_too_much():
    event, full = PrivacyEvent(2.0, 0.25, 8), PrivacyEvent(2.0, 1.0, 8)
    sampled = composed_epsilon([event], DELTA, group_size=4)
    assert sampled.pld < composed_epsilon([full], DELTA, group_size=4).pld / 3
    assert sampled.pld < sampled.rdp  # the bound for a group that is drawn all at once
    assert sampled.pld > 4 * composed_epsilon([event], DELTA).pld


def test_groups_cost_more_the_larger_they_are():
    events = [PrivacyEvent(6.0, 0.1, 50), PrivacyEvent(14.0, 1.0, 10)]
    epsilons = [composed_epsilon(events, DELTA, group_size=size).pld for size in (1, 2, 3, 10)]
    assert epsilons == sorted(epsilons)


def test_no_test_of_a_release_beats_the_bound():
    """The best attacker of one step tells whether four equal records are in, by the likelihood ratio."""
    generator = np.random.default_rng(8)
    trials, noise, probability, size, epsilon = 200_000, 1.0, 0.5, 4, 1.0
    absent = generator.normal(0, noise, trials)
    present = generator.normal(generator.binomial(size, probability, trials), noise)
    delta = group_loss(noise, probability, size, 1e-3).get_delta_for_epsilon(epsilon)
    advantage = max(
        (present > cut).mean() - math.exp(epsilon) * (absent > cut).mean() for cut in np.linspace(0, 3, 31)
    )
    assert advantage <= delta + 0.01
    assert advantage > 0.95 * delta  # the attack works: the bound is not met for want of trying


def test_a_group_of_nobody_is_refused():
    with pytest.raises(ValueError, match="group_size is 0"):
        composed_epsilon([PrivacyEvent(1.0, 1.0, 1)], DELTA, group_size=0)
