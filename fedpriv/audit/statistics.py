"""The tests behind the conformance checks: p-values under the hypothesis that the noise is as planned.

*Formal guarantee*: each function returns p with P[p <= a] <= a for every a, if the hypothesis holds; several
looks are paid for by Bonferroni. So a check that fails below :data:`FALSE_ALARM` is wrong less than once in
a million runs.

*Edge cases*: releases are tested one at a time and never pooled, so noise that repeats is invisible to
:func:`variance_p` and :func:`normality_p`; it is what :func:`repetition_p` finds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

FALSE_ALARM = 1e-6


def variance_p(releases: NDArray[np.float64]) -> float:
    """That each row of (k, d) is normal with variance 1: the sum of squares of a row is chi-square(d)."""
    count, dimension = releases.shape
    statistics = np.square(releases).sum(axis=1)
    tails = np.minimum(stats.chi2.cdf(statistics, dimension), stats.chi2.sf(statistics, dimension))
    return _bonferroni(2 * tails.min(), count)


def chance_to_miss(factor: float, dimension: int, count: int) -> float:
    """The probability that :func:`variance_p` does not alarm at ``factor`` times the planned deviation.

    Of one release, to the power of ``count``.
    """
    tail = FALSE_ALARM / (2 * count)
    low, high = stats.chi2.ppf(tail, dimension), stats.chi2.isf(tail, dimension)
    between = stats.chi2.cdf(high / factor**2, dimension) - stats.chi2.cdf(low / factor**2, dimension)
    return float(between) ** count


def normality_p(releases: NDArray[np.float64]) -> float:
    """That each row of (k, d) is normal about 0, whatever its variance.

    Kolmogorov's test against the row's own deviation, which makes the distance smaller, p larger.
    """
    p_values = [float(stats.kstest(row / np.sqrt(np.mean(row**2)), "norm").pvalue) for row in releases]
    return _bonferroni(min(p_values), len(p_values))


def repetition_p(pieces: NDArray[np.float64], others: NDArray[np.float64] | None = None) -> float:
    """That no piece of noise has to do with another, at any cyclic shift against each other.

    ``pieces`` (k, m) against ``others`` (l, m), or each against each. For two independent normal vectors the
    squared cosine is Beta(1/2, (m - 1)/2) at every shift.
    """
    m = pieces.shape[1]
    spectra = _spectra(pieces)
    largest = 0.0
    if others is None:
        pairs = len(pieces) * (len(pieces) - 1) // 2
        compared = [(spectra[place], spectra[place + 1 :]) for place in range(len(pieces) - 1)]
    else:
        pairs = len(pieces) * len(others)
        compared = [(spectrum, _spectra(others)) for spectrum in spectra]
    for one, rest in compared:
        cosines = np.fft.irfft(one * rest.conj(), m, axis=1)
        largest = max(largest, float(np.abs(cosines).max()))
    return _bonferroni(float(stats.beta.sf(min(largest, 1.0) ** 2, 0.5, (m - 1) / 2)), pairs * m)


def repeated_share(pieces: int, dimension: int) -> float:
    """The share of a piece that, repeated in another, :func:`repetition_p` all but surely finds.

    So large a cosine alarms among all pairs and shifts, and the rest adds less than five deviations.
    """
    looks = pieces * (pieces - 1) // 2 * dimension
    squared = stats.beta.isf(FALSE_ALARM / looks, 0.5, (dimension - 1) / 2)
    return math.sqrt(squared) + 5 / math.sqrt(dimension)


def binomial_p(counts: NDArray[np.int64], trials: int, probability: float) -> float:
    """That ``counts`` are independent draws of Binomial(trials, probability): mean and spread together.

    Their standardised squares add up to about chi-square; binomial tails are lighter, so p is not too small.
    """
    mean, variance = trials * probability, trials * probability * (1 - probability)
    statistic = float(np.square(counts - mean).sum() / variance)
    tails = min(stats.chi2.cdf(statistic, counts.size), stats.chi2.sf(statistic, counts.size))
    return _bonferroni(2 * float(tails), 1)


def _spectra(pieces: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Of the pieces at length 1."""
    norms = np.linalg.norm(pieces, axis=1, keepdims=True)
    return np.fft.rfft(pieces / np.where(norms == 0, 1, norms), axis=1)


def _bonferroni(p_value: float, looks: int) -> float:
    return float(min(1.0, looks * p_value))
