"""The noise and its source. Each statistical test alarms falsely less than once in a million runs."""

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.random import Generator
from randomgen import AESCounter
from scipy import stats

from fedpriv.dp import noise, randomness
from fedpriv.dp.noise import gaussian_noise
from fedpriv.dp.randomness import fresh_generator

FALSE_ALARM = 1e-6
DIMENSION = 200_000


def variance_p(sample, deviation):
    """Two-sided chi-square test of the variance with a known mean of 0."""
    statistic = np.square(sample / deviation).sum()
    below = stats.chi2.cdf(statistic, len(sample))
    return 2 * min(below, stats.chi2.sf(statistic, len(sample)))


def correlation_p(first, second):
    return stats.pearsonr(first, second).pvalue


def test_variance_is_as_planned_and_a_tenth_less_would_be_caught():
    sample = gaussian_noise(DIMENSION, 3.0)
    assert variance_p(sample, 3.0) > FALSE_ALARM
    assert variance_p(0.9 * sample, 3.0) < FALSE_ALARM
    assert variance_p(0.98 * sample, 3.0) < FALSE_ALARM


def test_values_are_normal_and_other_shapes_of_the_same_variance_would_be_caught():
    assert stats.kstest(gaussian_noise(DIMENSION, 2.0) / 2.0, "norm").pvalue > FALSE_ALARM
    generator = fresh_generator()
    uniform = generator.uniform(-math.sqrt(3), math.sqrt(3), DIMENSION)
    laplace = generator.laplace(scale=math.sqrt(0.5), size=DIMENSION)
    clipped = np.clip(generator.standard_normal(DIMENSION), -2, 2)
    for wrong in (uniform, laplace, clipped):
        assert stats.kstest(wrong, "norm").pvalue < FALSE_ALARM


def test_tails_are_those_of_a_normal():
    beyond = int((np.abs(gaussian_noise(1_000_000, 1.0)) > 3.5).sum())
    assert stats.binomtest(beyond, 1_000_000, 2 * stats.norm.sf(3.5)).pvalue > FALSE_ALARM
    assert stats.binomtest(beyond // 3, 1_000_000, 2 * stats.norm.sf(3.5)).pvalue < FALSE_ALARM


def test_two_draws_are_unrelated_and_a_repeated_seed_would_be_caught(monkeypatch):
    assert correlation_p(gaussian_noise(DIMENSION, 1.0), gaussian_noise(DIMENSION, 5.0)) > FALSE_ALARM
    monkeypatch.setattr(noise, "fresh_generator", lambda: Generator(AESCounter(key=1)))
    assert correlation_p(gaussian_noise(DIMENSION, 1.0), gaussian_noise(DIMENSION, 5.0)) < FALSE_ALARM


def test_coordinates_are_unrelated_to_their_neighbours():
    sample = gaussian_noise(DIMENSION, 1.0)
    for lag in (1, 2, 4, 64):
        assert correlation_p(sample[:-lag], sample[lag:]) > FALSE_ALARM


def test_zero_deviation_is_exactly_no_noise():
    assert not gaussian_noise(10, 0.0).any()
    assert gaussian_noise(0, 1.0).shape == (0,)


@pytest.mark.parametrize("deviation", [-1.0, math.nan, math.inf])
def test_deviations_out_of_range_are_refused(deviation):
    with pytest.raises(ValueError, match="standard_deviation"):
        gaussian_noise(3, deviation)


def test_the_keystream_is_aes_128_in_counter_mode():
    key = bytes(range(16))
    blocks = b"".join(counter.to_bytes(16, "little") for counter in range(1000))
    expected = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)
    drawn = AESCounter(key=int.from_bytes(key, "little")).random_raw(2000)
    assert drawn.astype("<u8").tobytes() == expected


def test_every_generator_has_a_key_of_128_secret_bits(monkeypatch):
    asked = []

    def bits(count):
        asked.append(count)
        return len(asked)

    monkeypatch.setattr(randomness.secrets, "randbits", bits)
    first, second = fresh_generator(), fresh_generator()
    assert asked == [128, 128]
    assert first.bit_generator.random_raw() != second.bit_generator.random_raw()
    assert first.bit_generator.random_raw() != AESCounter(key=2).random_raw()


def test_numpys_seed_has_no_influence():
    np.random.seed(0)  # noqa: NPY002
    first = gaussian_noise(8, 1.0)
    np.random.seed(0)  # noqa: NPY002
    assert not np.array_equal(first, gaussian_noise(8, 1.0))
