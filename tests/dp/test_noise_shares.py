"""Shares of noise: their sum, and that it hides no less than one trusted trainer's continuous Gaussian."""

import itertools
import math

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting.rdp import compute_epsilon
from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS
from scipy import special, stats

from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon
from fedpriv.dp.discrete_gaussian import discrete_gaussian
from fedpriv.dp.noise_shares import SLACK, NoiseShares

FALSE_ALARM = 1e-6
MULTIPLIER, LEVELS = 13.9, 65_536


def tolerated(hospitals):
    """Every (dropouts, colluders) that a study of so many hospitals may tolerate: t with 2 t > n + c."""
    for colluders in range(hospitals - 1):
        threshold = (hospitals + colluders) // 2 + 1
        for dropouts in range(hospitals - threshold + 1):
            yield hospitals, dropouts, colluders


COALITIONS = [case for hospitals in (3, 5, 10) for case in tolerated(hospitals)]


def chi_square_p(sample):
    statistic = np.square(sample).sum()
    return 2 * min(stats.chi2.cdf(statistic, sample.size), stats.chi2.sf(statistic, sample.size))


@pytest.mark.parametrize(("hospitals", "dropouts", "colluders"), COALITIONS)
def test_what_colluders_leave_of_the_smallest_sum_is_the_planned_noise(hospitals, dropouts, colluders):
    shares = NoiseShares(hospitals, dropouts, colluders, MULTIPLIER, LEVELS)
    drawn = np.array([discrete_gaussian(8_000, shares.standard_deviation) for _ in range(hospitals)])
    survivors = drawn[dropouts:]
    left = survivors.sum(axis=0) - survivors[:colluders].sum(axis=0)
    scaled = left / (MULTIPLIER * LEVELS)
    assert chi_square_p(scaled) > FALSE_ALARM / 10
    assert chi_square_p(0.9 * scaled) < FALSE_ALARM  # nine tenths of the noise
    assert stats.kstest(scaled, "norm").pvalue > FALSE_ALARM / 10
    everybody = drawn.sum(axis=0) / (shares.standard_deviation * math.sqrt(hospitals))
    assert chi_square_p(everybody) > FALSE_ALARM / 10


def test_equal_shares_of_two_hospitals_would_be_caught():
    shares = NoiseShares(3, 0, 0, MULTIPLIER, LEVELS)
    one, two = (discrete_gaussian(8_000, shares.standard_deviation) for _ in range(2))
    assert chi_square_p((one + one + two) / (MULTIPLIER * LEVELS)) < FALSE_ALARM


def discrete(variance, reach):
    """N_Z(variance) on -reach .. reach, to the working precision."""
    weights = [mpmath.exp(-(mpmath.mpf(z) ** 2) / (2 * variance)) for z in range(-reach, reach + 1)]
    total = mpmath.fsum(weights)
    return [weight / total for weight in weights]


@pytest.mark.parametrize("shares", [2, 3])
def test_a_sum_of_shares_is_one_discrete_gaussian(shares):
    """Step 1 of the argument, at the smallest deviation of a share."""
    with mpmath.workdps(60):
        reach = 330  # 20 deviations: what lies beyond is below 1e-80
        single = discrete(mpmath.mpf(16) ** 2, reach)
        padded = np.array(single, dtype=object)
        total = padded
        for _ in range(shares - 1):
            total = np.convolve(total, padded)
        expected = discrete(shares * mpmath.mpf(16) ** 2, len(total) // 2)
        middle = len(total) // 2
        for z in range(-60, 61, 7):
            assert abs(total[middle + z] / expected[middle + z] - 1) < mpmath.mpf(10) ** -55


def randomly_rounded(z, mean, variance, slack):
    """P[Z = z]: X normal about ``mean``, then an integer with probability ~ exp(-(z - X)^2 / 2 slack^2).

    The trapezoid rule with steps of 1/8 is exact to all digits for integrands this smooth.
    """

    def integrand(x):
        kernel = mpmath.exp(-((z - x) ** 2) / (2 * slack**2))
        around = int(mpmath.nint(x))
        nearby = range(around - 60, around + 61)
        mass = mpmath.fsum(mpmath.exp(-((k - x) ** 2) / (2 * slack**2)) for k in nearby)
        return mpmath.npdf(x, mean, mpmath.sqrt(variance)) * kernel / mass

    steps = [mpmath.mpf(i) / 8 for i in range(8 * (z - 60), 8 * (z + 61))]
    return mpmath.fsum(integrand(x) for x in steps) / 8


@pytest.mark.parametrize(("z", "mean"), [(0, 0), (25, 7)])
def test_discrete_noise_is_continuous_noise_rounded_at_random(z, mean):
    """Step 2: N_Z(s^2 + SLACK^2) on an integer is what rounding makes of a normal of variance s^2 on it."""
    with mpmath.workdps(60):
        variance = mpmath.mpf(16) ** 2
        noise = discrete(variance + mpmath.mpf(SLACK) ** 2, 330)
        rounded = randomly_rounded(z, mean, variance, mpmath.mpf(SLACK))
        assert abs(rounded / noise[330 + z - mean] - 1) < mpmath.mpf(10) ** -50


def test_too_little_slack_would_not_do():
    with mpmath.workdps(30):
        variance, slack = mpmath.mpf(16) ** 2, mpmath.mpf("0.2")
        rounded = randomly_rounded(3, 0, variance, slack)
        assert abs(rounded / discrete(variance + slack**2, 330)[333] - 1) > 5e-5


def hockey_stick(present, absent, epsilon):
    return float(np.maximum(present - np.exp(epsilon) * absent, 0).sum())


def discrete_pair(multiplier, levels, probability):
    """Output probabilities with and without the unit, whose gradient is one whole clip norm."""
    variance = (multiplier * levels) ** 2 + SLACK**2
    outputs = np.arange(-int(12 * multiplier * levels), int(12 * multiplier * levels) + levels)
    absent = np.exp(-(outputs.astype(float) ** 2) / (2 * variance))
    shifted = np.exp(-((outputs - float(levels)) ** 2) / (2 * variance))
    absent, shifted = absent / absent.sum(), shifted / shifted.sum()
    return (1 - probability) * absent + probability * shifted, absent


def continuous_deltas(multiplier, probability, epsilon):
    """Both directions of the Poisson-subsampled Gaussian, by integration up to where the loss is epsilon."""

    def upper(x):
        return special.ndtr(-x)

    # 1 - q + q exp(x / z - 1 / 2 z^2) = exp(+-epsilon), x in units of the deviation.
    def crossing(target):
        ratio = (target - 1 + probability) / probability
        return -math.inf if ratio <= 0 else multiplier * math.log(ratio) + 0.5 / multiplier

    high, low = crossing(math.exp(epsilon)), crossing(math.exp(-epsilon))
    mixture = lambda x: (1 - probability) * upper(x) + probability * upper(x - 1 / multiplier)  # noqa: E731
    adding = mixture(high) - math.exp(epsilon) * upper(high)
    removing = 0.0 if low == -math.inf else (1 - upper(low)) - math.exp(epsilon) * (1 - mixture(low))
    return adding, removing


@pytest.mark.parametrize("probability", [1.0, 0.3, 0.01])
@pytest.mark.parametrize("multiplier", [1.0, 3.0])
@pytest.mark.parametrize("levels", [16, 512])
def test_the_discrete_mechanism_hides_as_much_as_the_continuous_one(levels, multiplier, probability):
    """An independent sum over all outputs, with and without sampling, both directions."""
    present, absent = discrete_pair(multiplier, levels, probability)
    for epsilon in (0.001, 0.01, 0.1, 0.5, 1.0, 2.0):
        adding, removing = continuous_deltas(multiplier, probability, epsilon)
        assert hockey_stick(present, absent, epsilon) <= adding * (1 + 1e-6) + 1e-13
        assert hockey_stick(absent, present, epsilon) <= removing * (1 + 1e-6) + 1e-13


def test_a_tenth_less_noise_would_not_hide_as_much():
    present, absent = discrete_pair(0.9, 512, 1.0)
    assert hockey_stick(present, absent, 0.5) > 1.05 * continuous_deltas(1.0, 1.0, 0.5)[0]


def test_so_it_is_when_the_unit_moves_many_coordinates():
    """A gradient (3, 4) k of norm 5 k, summed over all pairs of outputs."""
    levels, multiplier = 40, 1.0
    variance = (multiplier * levels) ** 2 + SLACK**2
    axis = np.arange(-400, 441, dtype=float)
    one, two = (np.exp(-((axis - shift) ** 2) / (2 * variance)) for shift in (0.6 * levels, 0.8 * levels))
    zero = np.exp(-(axis**2) / (2 * variance))
    present = np.outer(one, two) / one.sum() / two.sum()
    absent = np.outer(zero, zero) / zero.sum() ** 2
    for epsilon in (0.1, 0.5, 1.0, 2.0):
        assert hockey_stick(present, absent, epsilon) <= continuous_deltas(1.0, 1.0, epsilon)[0] * (1 + 1e-6)


@pytest.mark.parametrize(("multiplier", "steps"), [(13.9062, 100), (5.0, 40), (30.0, 200)])
def test_epsilon_is_that_of_one_trusted_trainer(multiplier, steps):
    """The published bound for discrete Gaussians, with rounding in it, is within 2 % of what is charged.

    Kairouz, Liu and Steinke 2021: Renyi order a costs a D^2 / 2 variance, D the longest rounded gradient.
    """
    shares = NoiseShares(5, 1, 1, multiplier, LEVELS)
    variance = shares.fewest_honest * shares.standard_deviation**2
    published = [steps * order * LEVELS**2 / (2 * variance) for order in DEFAULT_RDP_ORDERS]
    distributed = compute_epsilon(DEFAULT_RDP_ORDERS, published, 1e-5)[0]
    charged = composed_epsilon([PrivacyEvent(multiplier, 1.0, steps)], 1e-5)
    assert distributed == pytest.approx(charged.rdp, rel=1e-6)
    assert charged.pld <= distributed
    central = dp_accounting.rdp.RdpAccountant()
    central.compose(dp_accounting.GaussianDpEvent(multiplier), steps)
    assert distributed == pytest.approx(central.get_epsilon(1e-5), rel=0.02)


@pytest.mark.parametrize(("multiplier", "steps"), [(13.9062, 100), (5.0, 40)])
def test_skellam_noise_would_cost_the_same(multiplier, steps):
    """Agarwal, Kairouz and Liu 2021, theorem 3.5: an independent mechanism of the same variance."""
    variance, norm, dimension = (multiplier * LEVELS) ** 2, float(LEVELS), 3108
    l1_norm = min(math.sqrt(dimension) * norm, norm**2)
    curve = [
        steps
        * (
            order * norm**2 / (2 * variance)
            + min(((2 * order - 1) * norm**2 + 6 * l1_norm) / (4 * variance**2), 3 * l1_norm / (2 * variance))
        )
        for order in DEFAULT_RDP_ORDERS
    ]
    skellam = compute_epsilon(DEFAULT_RDP_ORDERS, curve, 1e-5)[0]
    assert composed_epsilon([PrivacyEvent(multiplier, 1.0, steps)], 1e-5).rdp == pytest.approx(
        skellam, rel=1e-3
    )


def test_what_is_left_against_smaller_and_larger_coalitions():
    shares = NoiseShares(5, 1, 1, MULTIPLIER, LEVELS)
    assert shares.fewest_honest == 3
    for colluders, honest in [(0, 4), (1, 3), (2, 2), (3, 1), (4, 1)]:
        expected = MULTIPLIER * math.sqrt(honest / 3)
        assert shares.multiplier_against(colluders) == pytest.approx(expected, rel=1e-9)
    assert shares.multiplier_against(1) == pytest.approx(MULTIPLIER, rel=1e-15)
    assert shares.multiplier_of(5) == pytest.approx(MULTIPLIER * math.sqrt(5 / 3), rel=1e-9)


def test_the_largest_sum_of_units_fits_with_its_noise():
    shares = NoiseShares(5, 1, 1, MULTIPLIER, LEVELS)
    for bits in (24, 29, 32):
        most = shares.most_units(bits)
        room = 2 ** (bits - 1) - 1 - 12 * shares.standard_deviation
        assert most * LEVELS <= room < (most + 1) * LEVELS + 1
    assert shares.most_units(16) == 0


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((3, 1, 2), "leave nobody"),
        ((3, -1, 0), "leave nobody"),
        ((3, 0, 0, 0.001, 256), "a share of noise"),
        ((3, 0, 0, 1e9, 2**24), "a share of noise"),
        ((3, 0, 0, math.nan), "a share of noise"),
    ],
)
def test_shares_that_cannot_be_are_refused(numbers, message):
    hospitals, dropouts, colluders, *rest = numbers
    multiplier, levels = [*rest, *(MULTIPLIER, LEVELS)[len(rest) :]]
    with pytest.raises(ValueError, match=message):
        NoiseShares(hospitals, dropouts, colluders, multiplier, levels)


def test_every_tolerated_coalition_leaves_somebody_honest():
    assert len(COALITIONS) > 20
    for case in COALITIONS:
        assert NoiseShares(*case, MULTIPLIER, LEVELS).fewest_honest >= 1
    assert all(n - d - c >= 1 for n, d, c in itertools.chain(tolerated(2), tolerated(4), tolerated(31)))
