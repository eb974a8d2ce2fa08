"""Lanes, headroom and rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import (
    Layout,
    dequantise_sum,
    from_signed,
    layout_for,
    pack,
    quantise,
    signed_sum,
    unpack,
)


@pytest.mark.parametrize(
    ("bits", "hospitals", "lanes", "lane_bits"),
    [(16, 2, 3, 21), (16, 32, 3, 21), (16, 33, 2, 32), (16, 2048, 2, 32), (24, 5, 2, 32), (32, 2048, 1, 64)],
)
def test_layouts(bits, hospitals, lanes, lane_bits):
    assert layout_for(bits, hospitals) == Layout(bits, lanes, lane_bits)


@pytest.mark.parametrize("bits", range(2, 33))
@pytest.mark.parametrize("hospitals", [2, 3, 31, 32, 33, 100, 1000, 2048])
def test_every_layout_has_headroom_and_no_denser_one_has(bits, hospitals):
    layout = layout_for(bits, hospitals)
    largest = hospitals * (2**bits - 1)
    assert layout.lanes * layout.lane_bits <= 64
    assert largest < 2**layout.lane_bits
    assert largest >= 2 ** (64 // (layout.lanes + 1))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_sums_of_packed_words_are_packed_sums(data):
    bits = data.draw(st.integers(2, 32))
    hospitals = data.draw(st.integers(2, 40))
    count = data.draw(st.integers(1, 20))
    layout = layout_for(bits, hospitals)
    values = np.array(
        data.draw(
            st.lists(
                st.lists(st.integers(0, 2**bits - 1), min_size=count, max_size=count),
                min_size=hospitals,
                max_size=hospitals,
            )
        ),
        dtype=np.int64,
    )
    total = np.zeros(layout.words(count), dtype=np.uint64)
    for row in values:
        total += pack(row, layout)
    np.testing.assert_array_equal(unpack(total, count, layout), values.sum(axis=0))


@pytest.mark.parametrize("count", [1, 3, 3 * 16384 - 1, 3 * 16384, 3 * 16384 + 1, 100_003])
def test_packing_across_blocks(count):
    values = np.arange(count, dtype=np.int64) % 2**16
    layout = layout_for(16, 3)
    words = pack(values, layout)
    assert words.size == -(-count // 3)
    np.testing.assert_array_equal(unpack(words, count, layout), values)


def test_bytes_per_parameter():
    assert 8 * layout_for(16, 32).words(10**6) / 10**6 <= 2.67
    assert 8 * layout_for(16, 100).words(10**6) / 10**6 <= 4.01


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.zeros((3, 1), dtype=np.int64), np.zeros(3, dtype=np.int32)]
)
def test_only_a_vector_of_int64_is_packed(values):
    with pytest.raises(RuleBroken) as refused:
        pack(values, layout_for(16, 3))
    assert refused.value.code is RefusalCode.UPDATE_UNUSABLE


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_and_the_middle_are_exact(bits, dtype):
    half = 2 ** (bits - 1) - 1
    update = np.array([-0.25, 0.0, 0.25], dtype=dtype)
    np.testing.assert_array_equal(quantise(update, 0.25, bits), [0, half, 2 * half])
    np.testing.assert_array_equal(dequantise_sum(np.array([0, half, 2 * half]), 1, 0.25, bits), update)


def test_quantised_values_are_within_one_step():
    update = np.random.default_rng(1).uniform(-2, 2, 600_000)
    step = 2 / (2**15 - 1)
    error = dequantise_sum(quantise(update, 2.0, 16), 1, 2.0, 16) - update
    assert np.abs(error).max() <= step * (1 + 1e-9)


@pytest.mark.parametrize("bits", [16, 24])
def test_rounding_is_unbiased(bits):
    """The mean of the rounding errors of one million equal values is normal around 0: |z| < 5.5 (4e-8)."""
    half = 2 ** (bits - 1) - 1
    fraction = 0.3
    update = np.full(1_000_000, (1000 + fraction) / half)
    ups = (quantise(update, 1.0, bits) - half - 1000).sum()
    z = (ups - fraction * update.size) / np.sqrt(update.size * fraction * (1 - fraction))
    assert abs(z) < 5.5


def test_control_rounding_in_single_precision_is_biased():
    """The same test catches float32 arithmetic at 24 bits: the fraction is lost there."""
    half = 2**23 - 1
    scaled = np.full(1_000_000, (2**22 + 0.3) / half, dtype=np.float32) * np.float32(half)
    ups = (
        np.floor(scaled) + (np.random.default_rng(2).random(scaled.size) < scaled - np.floor(scaled))
    ).sum()
    z = (ups - (2**22 + 0.3) * scaled.size) / np.sqrt(scaled.size * 0.21)
    assert abs(z) > 5.5


def test_two_roundings_are_independent():
    update = np.full(100_000, 0.5 / (2**15 - 1))
    one, two = quantise(update, 1.0, 16), quantise(update, 1.0, 16)
    agreements = (one == two).sum()
    assert stats.binomtest(int(agreements), update.size, 0.5).pvalue > 1e-6


def test_the_sum_of_quantised_updates_is_close_to_the_sum():
    generator = np.random.default_rng(3)
    updates = generator.normal(0, 0.1, (5, 1000)).clip(-1, 1)
    total = sum(quantise(update, 1.0, 16) for update in updates)
    error = dequantise_sum(total, 5, 1.0, 16) - updates.sum(axis=0)
    assert np.abs(error).max() <= 5 / (2**15 - 1)


def test_an_empty_update_is_an_empty_vector():
    assert quantise(np.zeros(0), 1.0, 16).size == 0
    assert unpack(pack(np.zeros(0, dtype=np.int64), layout_for(16, 3)), 0, layout_for(16, 3)).size == 0


@pytest.mark.parametrize("bits", [2, 16, 32])
def test_signed_integers_survive_the_sum(bits):
    half = 2 ** (bits - 1) - 1
    hospitals = [np.array(row, dtype=np.int64) for row in ([-half, 0, half], [half, 0, half], [-half, -1, 1])]
    total = sum(from_signed(row, bits) for row in hospitals)
    np.testing.assert_array_equal(signed_sum(total, 3, bits), sum(hospitals))
    assert from_signed(np.zeros(0, dtype=np.int64), bits).size == 0


@pytest.mark.parametrize("outside", [2**15, -(2**15), -(2**63)])
def test_a_signed_integer_that_does_not_fit_is_refused(outside):
    with pytest.raises(RuleBroken) as refused:
        from_signed(np.array([0, outside], dtype=np.int64), 16)
    assert refused.value.code is RefusalCode.UPDATE_UNUSABLE
