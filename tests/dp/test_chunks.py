"""Cutting a sample into chunks."""

import numpy as np
import pytest

from fedpriv.dp.chunks import GRAIN, equal_chunks, padded_chunks
from fedpriv.dp.sampling import ABSENT


def sample_of(units, places):
    sample = np.arange(units * places).reshape(units, places)
    sample[::3, 1:] = ABSENT  # units with one record only
    return sample


@pytest.mark.parametrize("units", [0, 1, 7, 8, 9, 63, 64, 65, 200, 257])
@pytest.mark.parametrize("places", [1, 3, 20])
@pytest.mark.parametrize("most_records", [1, 64, 100, 1000])
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_every_drawn_unit_is_whole_in_one_chunk_and_the_rest_is_absent(units, places, most_records, at_once):
    sample = sample_of(units, places)
    cut = list(padded_chunks(sample, most_records, at_once=at_once))
    joined = np.concatenate(cut) if cut else np.empty((0, places))
    np.testing.assert_array_equal(joined[:units], sample)
    assert (joined[units:] == ABSENT).all()
    assert len(joined) - units < max(1, GRAIN // places)


@pytest.mark.parametrize("places", [1, 3, 20])
@pytest.mark.parametrize("most_records", [1, 64, 100, 1000])
@pytest.mark.parametrize("at_once", [1, 2])
def test_no_chunk_is_over_the_bound_unless_it_is_the_smallest(places, most_records, at_once):
    smallest = max(1, GRAIN // places)
    for units in range(150):
        for chunk in padded_chunks(sample_of(units, places), most_records, at_once=at_once):
            assert chunk.shape[1] == places
            assert chunk.size <= most_records or len(chunk) == smallest
            assert not len(chunk) % smallest


def test_chunks_are_alike_in_size_and_as_few_as_the_bound_allows():
    assert [len(chunk) for chunk in padded_chunks(sample_of(260, 1), 256)] == [128, 132]
    assert [len(chunk) for chunk in padded_chunks(sample_of(256, 1), 256)] == [256]


def test_as_many_chunks_as_are_computed_at_a_time_share_a_sample():
    def sizes(units, most_records):
        return [len(chunk) for chunk in padded_chunks(sample_of(units, 1), most_records, at_once=2)]

    assert sizes(63, 256) == [32, 32]
    assert sizes(260, 100) == [64, 64, 64, 68]  # three would do, and leave one alone
    assert sizes(3, 256) == [4]  # too few to share
    assert sizes(0, 256) == []


@pytest.mark.parametrize("units", [0, 1, 63, 64, 65, 200])
def test_equal_chunks_have_one_shape_whatever_was_drawn(units):
    sample = sample_of(units, 3)
    cut = list(equal_chunks(sample, 64))
    assert {chunk.shape for chunk in cut} <= {(64, 3)}
    joined = np.concatenate([*cut, np.empty((0, 3))])
    np.testing.assert_array_equal(joined[:units], sample)
    assert (joined[units:] == ABSENT).all()
    assert len(joined) - units < 64
