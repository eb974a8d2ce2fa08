"""Poisson sampling, checked as it is performed. False alarms: less than once in a million runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.dp.sampling import ABSENT, PoissonSampler

FALSE_ALARM = 1e-6
UNITS = 200
DRAWS = 4_000


def sizes(draw_size):
    return np.array([draw_size() for _ in range(DRAWS)])


def binomial_p(observed, units, probability):
    """Chi-square test of batch sizes against the Binomial, in bins of at least 20 expected."""
    edges = stats.binom.ppf(np.linspace(0, 1, 21)[1:-1], units, probability)
    edges = np.unique(edges)
    expected = np.diff(np.concatenate([[0], stats.binom.cdf(edges, units, probability), [1]])) * len(observed)
    counts = np.bincount(np.searchsorted(edges, observed), minlength=len(expected))
    return stats.chisquare(counts, expected).pvalue


def test_batch_sizes_are_binomial_and_other_samplings_would_be_caught():
    sampler = PoissonSampler(np.arange(UNITS), sampling_probability=0.3)
    assert binomial_p(sizes(lambda: len(sampler.draw())), UNITS, 0.3) > FALSE_ALARM
    generator = np.random.default_rng()
    fixed = np.full(DRAWS, 60)
    in_pairs = 2 * generator.binomial(UNITS // 2, 0.3, DRAWS)
    assert binomial_p(fixed, UNITS, 0.3) < FALSE_ALARM
    assert binomial_p(in_pairs, UNITS, 0.3) < FALSE_ALARM


def test_every_unit_is_drawn_with_the_stated_probability_and_independently():
    sampler = PoissonSampler(np.arange(UNITS), sampling_probability=0.3)
    drawn = np.zeros((DRAWS, UNITS))
    for row in drawn:
        row[sampler.draw()[:, 0]] = 1
    assert stats.chisquare(drawn.sum(axis=0), np.full(UNITS, drawn.sum() / UNITS)).pvalue > FALSE_ALARM
    for lag in (1, 2, 7):
        pairs = stats.pearsonr(drawn[:, :-lag].ravel(), drawn[:, lag:].ravel())
        assert pairs.pvalue > FALSE_ALARM
        over_time = stats.pearsonr(drawn[:-lag].ravel(), drawn[lag:].ravel())
        assert over_time.pvalue > FALSE_ALARM


def test_probability_one_takes_everybody_and_a_small_one_sometimes_nobody():
    assert len(PoissonSampler(np.arange(50), sampling_probability=1.0).draw()) == 50
    rare = PoissonSampler(np.arange(2), sampling_probability=0.01)
    assert min(len(rare.draw()) for _ in range(20)) == 0  # fails once in 10^28


@settings(max_examples=50, deadline=None)
@given(
    units=st.lists(st.integers(0, 8), min_size=1, max_size=60),
    records_per_unit=st.integers(1, 5),
    probability=st.floats(0.1, 1),
)
def test_a_drawn_row_holds_records_of_one_unit_up_to_the_limit(units, records_per_unit, probability):
    units = np.array(units)
    sampler = PoissonSampler(units, sampling_probability=probability, records_per_unit=records_per_unit)
    seen = set()
    for row in sampler.draw():
        records = row[row != ABSENT]
        owner = set(units[records])
        assert len(owner) == 1
        assert owner.isdisjoint(seen)
        seen |= owner
        assert len(set(records)) == len(records) == min(records_per_unit, (units == units[records[0]]).sum())
    if probability == 1:
        assert seen == set(units)


def test_a_patients_images_take_turns():
    sampler = PoissonSampler(np.zeros(10, dtype=int), sampling_probability=1.0, records_per_unit=2)
    counts = np.zeros(10)
    for _ in range(5_000):
        counts[sampler.draw()[0]] += 1
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_the_sampler_states_the_event_it_earned():
    sampler = PoissonSampler(np.arange(5), sampling_probability=0.25)
    assert sampler.event(1.5, 7) == PrivacyEvent(noise_multiplier=1.5, sampling_probability=0.25, steps=7)


@pytest.mark.parametrize(
    ("units", "arguments", "word"),
    [
        ([], {"sampling_probability": 0.5}, "no record"),
        ([0], {"sampling_probability": 0.0}, "sampling_probability"),
        ([0], {"sampling_probability": 1.1}, "sampling_probability"),
        ([0], {"sampling_probability": float("nan")}, "sampling_probability"),
        ([0], {"sampling_probability": 0.5, "records_per_unit": 0}, "records_per_unit"),
    ],
)
def test_nonsense_is_refused(units, arguments, word):
    with pytest.raises(ValueError, match=word):
        PoissonSampler(np.array(units, dtype=int), **arguments)
