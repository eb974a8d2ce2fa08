"""The sum is exact, as integers, under every pattern of dropouts that the threshold allows."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.federation import Federation, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg.messages import Stage

STAGES = (Stage.ADVERTISE, Stage.SHARE, Stage.UPLOAD, Stage.AGREE, Stage.UNMASK)
IN_THE_SUM = (None, Stage.AGREE, Stage.UNMASK)


def patterns(count, tolerated):
    """For each hospital the stage at which it is lost, or None; at most ``tolerated`` are lost."""
    for pattern in itertools.product((None, *STAGES), repeat=count):
        if sum(stage is not None for stage in pattern) <= tolerated:
            yield pattern


def run_pattern(terms, pattern):
    """The sum and the hospitals that must be in it."""
    federation = Federation(terms)
    paired = list(zip(terms.hospitals, pattern, strict=True))
    total = federation.run({stage: [name for name, at in paired if at is stage] for stage in STAGES})
    survivors = tuple(name for name, at in paired if at in IN_THE_SUM)
    assert federation.coordinator.record.survivors == survivors
    return total, federation.expected(survivors)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_every_dropout_pattern_gives_the_exact_sum(count):
    terms = terms_for(count)
    for pattern in patterns(count, terms.dropouts):
        np.testing.assert_array_equal(*run_pattern(terms, pattern))


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_larger_federations_give_the_exact_sum(data):
    count = data.draw(st.integers(6, 8), label="hospitals")
    colluders = data.draw(st.integers(0, 2), label="colluders")
    bits = data.draw(st.sampled_from([8, 16, 24, 32]), label="bits")
    terms = terms_for(count, colluders=colluders, bits=bits, parameters=data.draw(st.integers(1, 10)))
    lost = data.draw(st.lists(st.sampled_from(STAGES), max_size=terms.dropouts), label="lost")
    pattern = data.draw(st.permutations([*lost, *[None] * (count - len(lost))]), label="pattern")
    np.testing.assert_array_equal(*run_pattern(terms, pattern))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_dropout_too_many_fails_closed(data):
    count = data.draw(st.integers(3, 8), label="hospitals")
    terms = terms_for(count)
    lost = data.draw(
        st.lists(st.sampled_from(STAGES), min_size=terms.dropouts + 1, max_size=count), label="lost"
    )
    pattern = data.draw(st.permutations([*lost, *[None] * (count - len(lost))]), label="pattern")
    with pytest.raises(RoundFailed):
        run_pattern(terms, pattern)


@pytest.mark.parametrize("count", [2, 32, 33])
def test_the_edges_of_the_layouts(count):
    federation = Federation(terms_for(count, parameters=7))
    np.testing.assert_array_equal(federation.run(), federation.expected(federation.terms.hospitals))


def test_a_receipt_reaches_everybody_and_comes_back_signed():
    federation = Federation(terms_for(4))
    federation.run({Stage.UPLOAD: ["h0001"]})
    requests = federation.coordinator.close(b"M" * 32, b"P" * 32)
    assert set(requests) == {"h0000", "h0002", "h0003"}
    federation.exchange(requests)
    record = federation.coordinator.record
    assert [closed.name for closed in federation.coordinator.closed] == ["h0000", "h0002", "h0003"]
    assert record.receipt.survivors == ("h0000", "h0002", "h0003")
    assert record.receipt.model_digest_after == b"M" * 32
    assert record.receipt.published_digest == b"P" * 32
    assert [head.name for head in record.receipt.journal_heads] == ["h0000", "h0001", "h0002", "h0003"]
