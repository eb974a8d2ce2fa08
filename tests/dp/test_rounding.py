"""Rounding units to the grid: never longer than the clip norm, never biased, never endless."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from scipy import stats

from fedpriv.dp import rounding
from fedpriv.dp.rounding import SHARE, fewest_levels, round_units

FALSE_ALARM = 1e-6


def clipped_rows(seed, units, dimension, l2_clip_norm=1.0, share=SHARE * (1 - 1e-5)):
    rows = np.random.default_rng(seed).normal(size=(units, dimension))
    return (share * l2_clip_norm * rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(
    rows=hypothesis_numpy.arrays(np.float32, (4, 9), elements=st.floats(-100, 100, width=32)),
    l2_clip_norm=st.floats(1e-3, 1e3),
    levels=st.sampled_from([4096, 65536, 2**20]),
)
@settings(max_examples=300, deadline=None)
def test_a_unit_never_moves_the_sum_by_more_than_a_clip_norm(rows, l2_clip_norm, levels):
    norms = np.maximum(np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True), 1e-30)
    clipped = (rows * np.minimum(1, SHARE * (1 - 1e-5) * l2_clip_norm / norms)).astype(np.float32)
    rounded = round_units(clipped, l2_clip_norm, levels)
    assert rounded.dtype == np.int64
    assert ((rounded**2).sum(axis=1) <= levels**2).all()
    assert (np.abs(rounded - clipped.astype(np.float64) * (levels / l2_clip_norm)) < 1).all()


def test_the_bound_holds_where_rounding_alone_would_break_it():
    rows, levels = clipped_rows(1, 200, 4000), 700
    alone = rounding._round(rows.astype(np.float64) * levels)
    too_long = ((alone**2).sum(axis=1) > levels**2).mean()
    assert 0.05 < too_long < 0.95  # the check has something to do
    assert ((round_units(rows, 1.0, levels) ** 2).sum(axis=1) <= levels**2).all()


@pytest.mark.parametrize("dimension", [1, 3108, 242_000])
def test_with_enough_levels_nothing_is_redrawn(dimension, monkeypatch):
    levels = fewest_levels(dimension)
    calls = []
    original = rounding._round
    monkeypatch.setattr(rounding, "_round", lambda scaled: calls.append(1) or original(scaled))
    for seed in range(5):
        round_units(clipped_rows(seed, 8, dimension), 1.0, levels)
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("dimension", "levels"), [(1, 4096), (3108, 4096), (100_000, 8192), (1_000_000, 16_384)]
)
def test_fewest_levels_by_hand(dimension, levels):
    """s^2 - (SHARE s)^2 >= d / 4 + sqrt(2 ln 2^40) (SHARE s + sqrt(d) / 2)."""
    assert fewest_levels(dimension) == levels

    def room(s):
        spread = np.sqrt(80 * np.log(2)) * (SHARE * s + np.sqrt(dimension) / 2)
        return s**2 * (1 - SHARE**2) - dimension / 4 - spread

    assert room(levels) >= 0 > room(levels / 2)


def test_rounding_is_unbiased_and_truncation_would_be_caught():
    row, levels, repeats = clipped_rows(3, 1, 500), 4096, 4000
    scaled = row.astype(np.float64) * levels
    errors = round_units(np.repeat(row, repeats, axis=0), 1.0, levels) - scaled
    fraction = scaled - np.floor(scaled)
    deviation = np.sqrt(np.maximum(fraction * (1 - fraction), 1e-9) / repeats)
    z = errors.mean(axis=0) / deviation
    assert 2 * stats.norm.sf(np.abs(z).max()) * z.size > FALSE_ALARM
    assert abs(errors.mean()) < 6 * 0.5 / np.sqrt(errors.size)
    assert abs((np.floor(scaled) - scaled).mean()) > 6 * 0.5 / np.sqrt(errors.size)


def test_rows_are_rounded_with_coins_of_their_own():
    row = clipped_rows(4, 1, 20_000)
    one, two = round_units(np.repeat(row, 2, axis=0), 1.0, 4096)
    fraction = row[0].astype(np.float64) * 4096 % 1
    expected = (2 * fraction * (1 - fraction)).mean()
    deviation = 0.5 / np.sqrt(fraction.size)
    assert abs((one != two).mean() - expected) < 5 * deviation


def test_zero_stays_zero():
    assert not round_units(np.zeros((3, 5), np.float32), 1.0, 4096).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.0, -2.0])
def test_what_was_not_clipped_is_refused(bad):
    rows = np.zeros((2, 3), np.float32)
    rows[1, 1] = bad
    with pytest.raises(ValueError, match="not finite, or longer"):
        round_units(rows, 1.0, 4096)


def test_more_levels_than_squares_are_exact_for_are_refused():
    with pytest.raises(ValueError, match="levels to a clip norm are more"):
        round_units(np.zeros((1, 3), np.float32), 1.0, rounding.MOST_LEVELS * 2)
