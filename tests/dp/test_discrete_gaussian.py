"""Integer noise: the table, the blend of digits and the draws, each against an independent computation."""

import time

import mpmath
import numpy as np
import pytest
from scipy import stats

from fedpriv.dp import discrete_gaussian as module
from fedpriv.dp.discrete_gaussian import discrete_gaussian

FALSE_ALARM = 1e-6
DRAWS = 400_000


def exact_probabilities(deviation, reach):
    """Of the integers -reach to reach, to 60 digits, normalised over 20 deviations."""
    with mpmath.workdps(60):
        weight = {
            z: mpmath.exp(-(mpmath.mpf(z) ** 2) / (2 * mpmath.mpf(deviation) ** 2)) for z in range(reach)
        }
        far = int(20 * deviation)
        total = 1 + 2 * mpmath.fsum(
            mpmath.exp(-(mpmath.mpf(z) ** 2) / (2 * mpmath.mpf(deviation) ** 2)) for z in range(1, far)
        )
        return {z: weight[abs(z)] / total for z in range(-reach + 1, reach)}


def table_probabilities(deviation):
    table = module._table(deviation)
    edges = [0, *table.thresholds, 2**128]
    with mpmath.workdps(60):
        return {
            table.first + i: (mpmath.mpf(edges[i + 1]) - edges[i]) / mpmath.mpf(2) ** 128
            for i in range(len(edges) - 1)
        }


@pytest.mark.parametrize("deviation", [2.5, 7.3, 40.0])
def test_the_table_holds_the_probabilities_to_128_bits(deviation):
    found = table_probabilities(deviation)
    expected = exact_probabilities(deviation, reach=int(10 * deviation))
    assert max(abs(found[z] - p) for z, p in expected.items()) < mpmath.mpf(2) ** -126
    assert module._table(deviation).thresholds == tuple(sorted(module._table(deviation).thresholds))


def convolve(first, second, factor):
    total = {}
    for x, p in first.items():
        for y, q in second.items():
            total[x + factor * y] = total.get(x + factor * y, 0) + p * q
    return total


@pytest.mark.parametrize("deviation", [16.0, 31.0])
def test_the_digits_blend_into_one_discrete_gaussian(deviation):
    base = module._base(deviation)
    digit = table_probabilities(deviation / np.sqrt(1 + base**2 + base**4))
    with mpmath.workdps(60):
        sums = convolve(convolve(digit, digit, base), digit, base**2)
        for z, p in exact_probabilities(deviation, reach=int(4 * deviation)).items():
            assert abs(sums[z] / p - 1) < 1e-13  # what the deviation's 53 bits leave


def test_digits_too_narrow_for_their_base_would_not_blend():
    digit = table_probabilities(16.0 / np.sqrt(1 + 4**2 + 4**4))
    with mpmath.workdps(60):
        sums = convolve(convolve(digit, digit, 4), digit, 16)
        expected = exact_probabilities(16.0, reach=40)
        assert max(abs(sums[z] / p - 1) for z, p in expected.items()) > 0.01


@pytest.mark.parametrize("deviation", [16.0, 17.0, 100.0, 1e3, 567e3, 3e8, 2.0**40])
def test_the_base_leaves_digits_wide_enough(deviation):
    base = module._base(deviation)
    digit = deviation / np.sqrt(1 + base**2 + base**4)
    assert digit >= 2.5 * np.sqrt(1 + base**2)
    assert base == 1 or digit < 2.6 * np.sqrt(1 + (base + 1) ** 2) * 1.7  # and the table small


def variance_p(sample):
    statistic = np.square(sample).sum()
    return 2 * min(stats.chi2.cdf(statistic, sample.size), stats.chi2.sf(statistic, sample.size))


@pytest.mark.parametrize("deviation", [16.0, 25.0])
def test_draws_follow_the_probabilities(deviation):
    sample = discrete_gaussian(DRAWS, deviation)
    reach = int(4 * deviation)
    expected = exact_probabilities(deviation, reach)
    values = np.array(sorted(expected))
    counts = np.array([(sample == z).sum() for z in values])
    shares = np.array([float(expected[z]) for z in values])
    inside = counts.sum()
    assert stats.chisquare(counts, inside * shares / shares.sum()).pvalue > FALSE_ALARM
    squeezed = np.exp(-0.5 * (values / (0.98 * deviation)) ** 2)  # 4 % less variance would be seen
    assert stats.chisquare(counts, inside * squeezed / squeezed.sum()).pvalue < FALSE_ALARM


@pytest.mark.parametrize("deviation", [16.0, 1e3, 567e3, 1e7])
def test_draws_have_the_deviation_and_look_normal(deviation):
    sample = discrete_gaussian(DRAWS, deviation) / deviation
    assert variance_p(sample) > FALSE_ALARM
    assert variance_p(0.99 * sample) < FALSE_ALARM
    assert 2 * stats.norm.sf(abs(sample.mean()) * np.sqrt(DRAWS)) > FALSE_ALARM
    dithered = sample + np.random.default_rng(0).uniform(-0.5, 0.5, DRAWS) / deviation
    assert stats.kstest(dithered, "norm").pvalue > FALSE_ALARM
    assert stats.kstest(stats.t(30).rvs(DRAWS, random_state=1), "norm").pvalue < FALSE_ALARM


def test_neighbouring_coordinates_and_calls_are_unrelated():
    first, second = discrete_gaussian(DRAWS, 1e4), discrete_gaussian(DRAWS, 1e4)
    assert stats.pearsonr(first, second).pvalue > FALSE_ALARM
    assert stats.pearsonr(first[1:], first[:-1]).pvalue > FALSE_ALARM
    assert (first != second).mean() > 0.99


def test_low_digits_are_uniform():
    sample = discrete_gaussian(DRAWS, 1e5)
    for modulus in (2, 3, 7, 64):
        assert stats.chisquare(np.bincount(sample % modulus, minlength=modulus)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("low_bits", [0, 2**64 - 1])
def test_a_tie_with_a_threshold_is_decided_by_more_bits(monkeypatch, low_bits):
    table = module._table(8.0)
    monkeypatch.setattr(module.secrets, "randbits", lambda bits: low_bits)
    places = np.arange(-60, 60) - table.first  # further out, thresholds share their 64 bits
    drawn = module._invert(table, table.high[places])
    # The threshold's own low bits lie in between: with none we are below it, with all above it.
    expected = places + table.first + (1 if low_bits else 0)
    np.testing.assert_array_equal(drawn, expected)


def test_the_ends_of_the_table_are_far_out_and_never_passed():
    table = module._table(8.0)
    low, high = module._invert(table, np.array([0, 2**64 - 1], dtype=np.uint64))
    assert table.first <= low < -70
    assert 70 < high <= -table.first


def test_a_million_draws_take_less_than_a_second():
    discrete_gaussian(1, 567e3)  # makes the table
    began = time.process_time()
    assert discrete_gaussian(1_000_000, 567e3).dtype == np.int64
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("deviation", [0.0, 15.9, -1.0, np.nan, np.inf, 2.0**41])
def test_deviations_that_cannot_be_drawn_are_refused(deviation):
    with pytest.raises(ValueError, match="standard_deviation"):
        discrete_gaussian(3, deviation)


def test_nothing_asked_nothing_drawn():
    assert discrete_gaussian(0, 100.0).shape == (0,)
