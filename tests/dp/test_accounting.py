import math
import subprocess
import sys

import mpmath
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from fedpriv.dp.accounting import (
    PrivacyEvent,
    candidate_success,
    composed_epsilon,
    group_event,
    noise_multiplier_for,
    privacy_curve,
)

DELTA = 1e-5


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Balle and Wang 2018, theorem 8, for one Gaussian of sensitivity / deviation = mu."""
    return stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)


def gaussian_epsilon(mu: float, delta: float) -> float:
    return optimize.brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0, 200, xtol=1e-12)


# Gaussians compose exactly: k steps of multiplier z are one of mu = sqrt(k) / z (Dong et al. 2022, cor. 3.3).
CLOSED_FORM = [
    (noise, steps, delta)
    for noise, steps in [(0.8, 1), (1.0, 1), (2.0, 1), (5.0, 10), (10.0, 50), (13.906, 100), (40.0, 1000)]
    for delta in (1e-5, 1e-7)
]


@pytest.mark.parametrize(("noise", "steps", "delta"), CLOSED_FORM)
def test_full_batches_cost_what_the_closed_form_says(noise, steps, delta):
    exact = gaussian_epsilon(math.sqrt(steps) / noise, delta)
    found = composed_epsilon([PrivacyEvent(noise, 1.0, steps)], delta)
    assert exact - 1e-9 <= found.pld <= exact * 1.001 + 1e-4
    assert found.rdp >= found.pld


def sampled_delta(epsilon: float, noise: float, probability: float) -> float:
    """One sampled Gaussian, add-or-remove, by mpmath: the larger divergence of the two directions.

    With the unit in, the output has density (1 - q) N(0, z^2) + q N(1, z^2); without, N(0, z^2).
    """
    with mpmath.workdps(20):
        z, q, bound = mpmath.mpf(noise), mpmath.mpf(probability), mpmath.e**epsilon

        def without(x):
            return mpmath.npdf(x, 0, z)

        def ratio(x):
            return 1 - q + q * mpmath.exp((2 * x - 1) / (2 * z**2))

        def root(target):
            inside = (target - 1 + q) / q
            return z**2 * mpmath.log(inside) + mpmath.mpf(1) / 2 if inside > 0 else -mpmath.inf

        far = 40 * z
        removed_from = max(root(bound), -far)
        remove = mpmath.quad(
            lambda x: (ratio(x) - bound) * without(x), mpmath.linspace(removed_from, removed_from + far, 9)
        )
        added_to = root(1 / bound)
        add = mpmath.mpf(0)
        if added_to > -far:
            add = mpmath.quad(
                lambda x: (1 - bound * ratio(x)) * without(x), mpmath.linspace(added_to - far, added_to, 9)
            )
        return float(max(remove, add))


@pytest.mark.parametrize(
    ("noise", "probability"),
    [(0.7, 0.01), (0.7, 0.1), (1.0, 0.1), (1.0, 0.5), (2.0, 0.1), (2.0, 0.9), (4.0, 0.3)],
)
def test_one_sampled_step_costs_what_the_integral_says(noise, probability):
    exact = optimize.brentq(lambda epsilon: sampled_delta(epsilon, noise, probability) - DELTA, 1e-6, 30)
    found = composed_epsilon([PrivacyEvent(noise, probability, 1)], DELTA)
    assert exact - 1e-9 <= found.pld <= exact * 1.002 + 2e-4
    assert found.rdp >= found.pld


# What tensorflow-privacy 0.9.0 asserts about its own statements (compute_dp_sgd_privacy_test.py): noise,
# probability, steps, delta, RDP epsilon, PLD epsilon.
STATED_BY_TENSORFLOW_PRIVACY = [
    (0.7, 1.0, 2, 1e-5, 10.8602036, 10.1224946),
    (0.7, 0.01, 120, 1e-5, 3.2391922, 2.4612381),
    (1.3, 150 / 60000, 6000, 1e-5, 0.7242234, None),
    (1.0, 100 / 100000, 30000, 1e-7, 1.4154988, None),
]


@pytest.mark.parametrize(
    ("noise", "probability", "steps", "delta", "rdp", "pld"), STATED_BY_TENSORFLOW_PRIVACY
)
def test_agrees_with_tensorflow_privacy(noise, probability, steps, delta, rdp, pld):
    found = composed_epsilon([PrivacyEvent(noise, probability, steps)], delta)
    assert found.rdp == pytest.approx(rdp, abs=1e-6)
    if pld is not None:
        assert found.pld == pytest.approx(pld, rel=1e-3)


def renyi_by_hand(noise: float, probability: float, order: int) -> float:
    """Mironov, Talwar and Zhang 2019, section 3.3: the binomial sum at integer orders."""
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-probability)
        + k * math.log(probability)
        + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    return float(np.logaddexp.reduce(terms)) / (order - 1)


# The table in tensorflow-privacy's tutorials/README.md (MNIST, 60,000 images, batches of 256, delta 1e-5),
# and Abadi et al. 2016, section 3.2 (q = 0.01, sigma = 4, 10,000 steps: 1.26). Both convert from RDP or
# moments by Mironov 2017, proposition 3, looser than today's conversion: they bound ours from above.
PUBLISHED = [
    (1.3, 256 / 60000, 15 * 60000 // 256, 1.19),
    (1.1, 256 / 60000, 60 * 60000 // 256, 3.01),
    (0.7, 256 / 60000, 45 * 60000 // 256, 7.10),
    (4.0, 0.01, 10_000, 1.26),
]


@pytest.mark.parametrize(("noise", "probability", "steps", "published"), PUBLISHED)
def test_published_values_follow_from_the_same_mechanism(noise, probability, steps, published):
    classical = min(
        steps * renyi_by_hand(noise, probability, order) + math.log(1 / DELTA) / (order - 1)
        for order in range(2, 80)
    )
    assert classical == pytest.approx(published, abs=0.03)
    found = composed_epsilon([PrivacyEvent(noise, probability, steps)], DELTA)
    assert 0.7 * published < found.pld < found.rdp < published + 0.005


def test_the_numbers_in_the_rules_are_reproduced():
    # 2,600 images, full batch, 100 steps, epsilon 3: noise to signal 0.14 for 1,000 parameters.
    multiplier = noise_multiplier_for(3.0, DELTA, 1.0, 100)
    assert multiplier * math.sqrt(1000) / 2600 == pytest.approx(0.17, abs=0.03)
    assert multiplier == pytest.approx(math.sqrt(100) / mu_for(3.0), rel=2e-3)


def mu_for(epsilon: float) -> float:
    return optimize.brentq(lambda mu: gaussian_delta(epsilon, mu) - DELTA, 1e-3, 50)


@settings(max_examples=15, deadline=None)
@given(
    noise=st.floats(0.6, 30),
    probability=st.floats(0.01, 1),
    steps=st.integers(1, 500),
)
def test_rdp_bounds_pld(noise, probability, steps):
    found = composed_epsilon([PrivacyEvent(noise, probability, steps)], DELTA)
    assert 0 <= found.pld <= found.rdp + 1e-4


@settings(max_examples=2, deadline=None)
@given(epsilon=st.floats(0.3, 20), probability=st.sampled_from([0.1, 0.5, 1.0]), steps=st.integers(1, 200))
def test_planned_noise_meets_the_target_and_less_does_not(epsilon, probability, steps):
    multiplier = noise_multiplier_for(epsilon, DELTA, probability, steps)
    assert composed_epsilon([PrivacyEvent(multiplier, probability, steps)], DELTA).pld <= epsilon
    less = PrivacyEvent(0.999 * multiplier - 0.0002, probability, steps)
    assert composed_epsilon([less], DELTA).pld > epsilon


def test_splitting_or_reordering_events_changes_nothing():
    parts = [PrivacyEvent(2.0, 0.2, 30), PrivacyEvent(4.0, 1.0, 5), PrivacyEvent(2.0, 0.2, 70)]
    whole = [PrivacyEvent(4.0, 1.0, 5), PrivacyEvent(2.0, 0.2, 100)]
    assert composed_epsilon(parts, DELTA).pld == pytest.approx(composed_epsilon(whole, DELTA).pld, rel=1e-9)


def test_a_mixture_of_full_batches_follows_the_closed_form():
    events = [PrivacyEvent(10.0, 1.0, 20), PrivacyEvent(5.0, 1.0, 8)]
    exact = gaussian_epsilon(math.sqrt(20 / 10**2 + 8 / 5**2), DELTA)
    assert exact - 1e-9 <= composed_epsilon(events, DELTA).pld <= exact * 1.001 + 1e-4


def test_nothing_released_costs_nothing_and_no_noise_costs_everything():
    assert composed_epsilon([], DELTA).pld == 0
    assert composed_epsilon([PrivacyEvent(1.0, 1.0, 0), PrivacyEvent(0.0, 0.0, 9)], DELTA).rdp == 0
    found = composed_epsilon([PrivacyEvent(5.0, 0.1, 10), PrivacyEvent(0.0, 0.1, 1)], DELTA)
    assert math.isinf(found.pld)
    assert math.isinf(found.rdp)


def test_the_curve_is_the_closed_form_for_full_batches():
    epsilons = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    mu = math.sqrt(50) / 10
    exact = np.array([gaussian_delta(epsilon, mu) for epsilon in epsilons])
    found = privacy_curve([PrivacyEvent(10.0, 1.0, 50)], epsilons)
    assert np.all(found >= exact - 1e-12)
    assert found == pytest.approx(exact, rel=5e-3, abs=1e-6)


def test_picking_among_candidates_is_bounded_by_the_curve():
    events = [PrivacyEvent(13.906, 1.0, 100)]
    mu = math.sqrt(100) / 13.906
    exact = optimize.minimize_scalar(
        lambda epsilon: math.exp(epsilon) / 100 + gaussian_delta(epsilon, mu), bounds=(0, 5), method="bounded"
    ).fun
    assert candidate_success(events) == pytest.approx(exact, rel=2e-3)
    assert candidate_success([]) == pytest.approx(0.01)
    assert candidate_success([PrivacyEvent(0.0, 1.0, 1)]) == 1.0
    assert candidate_success(events, candidates=2) >= 0.5


def test_no_attacker_beats_the_bound_on_candidates():
    # The best attacker of one Gaussian release picks the candidate whose coordinate is largest.
    generator = np.random.default_rng(3)
    trials, candidates, noise = 40_000, 10, 1.0
    outputs = generator.normal(0, noise, (trials, candidates))
    outputs[:, 0] += 1.0
    picked = int((outputs.argmax(axis=1) == 0).sum())
    bound = candidate_success([PrivacyEvent(noise, 1.0, 1)], candidates=candidates)
    assert stats.binomtest(picked, trials, bound, alternative="greater").pvalue > 1e-6
    assert picked / trials > 2 / candidates  # the attack works: the bound is not met for want of trying


@pytest.mark.parametrize(
    "numbers",
    [(-1.0, 0.5, 1), (math.nan, 0.5, 1), (math.inf, 0.5, 1), (1.0, 1.5, 1), (1.0, -0.1, 1), (1.0, 0.5, -1)],
)
def test_events_out_of_range_are_refused(numbers):
    with pytest.raises(ValueError, match="must"):
        PrivacyEvent(*numbers)
    encoded = msgspec.json.encode(
        dict(zip(("noise_multiplier", "sampling_probability", "steps"), numbers, strict=True))
    )
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(encoded, type=PrivacyEvent)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_out_of_range_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        composed_epsilon([PrivacyEvent(1.0, 1.0, 1)], delta)


def test_targets_that_no_noise_meets_are_refused():
    with pytest.raises(ValueError, match="positive"):
        noise_multiplier_for(0.0, DELTA, 1.0, 10)
    with pytest.raises(ValueError, match="65536"):
        noise_multiplier_for(1e-9, 1e-12, 1.0, 10)


def test_importing_the_accountant_needs_neither_tensorflow_nor_dp_accounting():
    program = (
        "import sys, fedpriv.dp.accounting\n"
        "print([name for name in ('tensorflow', 'dp_accounting', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("units", [1, 2, 5])
def test_a_group_in_full_batches_costs_the_closed_form_of_so_many_shifts(units):
    event = group_event(PrivacyEvent(8.0, 1.0, 16), units)
    assert event == PrivacyEvent(8.0 / units, 1.0, 16)
    due = gaussian_epsilon(units * math.sqrt(16) / 8.0, 1e-5)
    assert composed_epsilon([event], 1e-5).pld == pytest.approx(due, rel=2e-3)


@pytest.mark.parametrize(("noise", "probability", "units"), [(1.0, 0.25, 2), (2.0, 0.1, 5), (0.8, 0.5, 3)])
def test_a_sampled_group_costs_no_more_than_stated_in_either_direction(noise, probability, units):
    """Hockey-stick divergences of one step by numerical integration, those of the stated event above them.

    The group's members join by coins of their own, all gradients point the same way: the worst case.
    """
    event = group_event(PrivacyEvent(noise, probability, 1), units)
    joined = stats.binom(units, probability).pmf(np.arange(units + 1))
    values = np.linspace(-12 * noise, units + 12 * noise, 400_001)
    width = values[1] - values[0]
    alone = stats.norm.pdf(values, 0, noise)
    together = sum(share * stats.norm.pdf(values, count, noise) for count, share in enumerate(joined))
    epsilons = np.array([0.0, 0.2, 0.5, 1.0, 2.0, 3.0])
    stated = privacy_curve([event], epsilons)
    for epsilon, delta in zip(epsilons, stated, strict=True):
        for first, second in ((together, alone), (alone, together)):
            assert np.maximum(first - math.exp(epsilon) * second, 0).sum() * width <= delta + 1e-7


def test_a_group_needs_somebody():
    with pytest.raises(ValueError, match="must be at least 1"):
        group_event(PrivacyEvent(1.0, 1.0, 1), 0)
