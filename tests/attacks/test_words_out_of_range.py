"""A hospital masks words of its own making: one coordinate is then worth many honest ones."""

import numpy as np
import pytest
from support.federation import Federation, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg.messages import Stage

ATTACKER = "h0004"


def total_with_large_words(monkeypatch):
    """The sum when the attacker fills all 21 bits of its lanes instead of 16."""
    federation = Federation(terms_for(5))
    terms = federation.terms
    for values in federation.values.values():
        values[:] = 1000
    requests = federation.run_to(Stage.UPLOAD)
    with monkeypatch.context() as patched:
        lane = 2**terms.layout.lane_bits - 1 - 4 * 1000
        word = sum(lane << place * terms.layout.lane_bits for place in range(terms.layout.lanes))
        patched.setattr("fedpriv.secagg.hospital.pack", lambda *_: np.full(terms.words, word, np.uint64))
        federation.exchange({ATTACKER: requests.pop(ATTACKER)})
    federation.exchange(requests)
    federation.exchange(federation.coordinator.advance())
    federation.exchange(federation.coordinator.advance())
    return federation.coordinator.total()


def test_a_sum_that_no_values_in_range_have_fails_the_round(monkeypatch):
    with pytest.raises(RoundFailed, match="no 5 updates of 16 bits have this sum"):
        total_with_large_words(monkeypatch)


def test_control_without_the_check_one_hospital_outweighs_the_others(monkeypatch):
    monkeypatch.setattr("fedpriv.secagg.coordinator.check_sum", lambda *_: None)
    assert (total_with_large_words(monkeypatch) == 2**21 - 1).all()


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_the_largest_honest_sum_passes(bits):
    federation = Federation(terms_for(5, bits=bits))
    for values in federation.values.values():
        values[:] = 2**bits - 1
    assert (federation.run({Stage.UPLOAD: ["h0001"]}) == 4 * (2**bits - 1)).all()
