"""Values that do not fit are refused: never clipped, never wrapped into a neighbour's lane."""

import numpy as np
import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg import ring
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


@pytest.mark.parametrize("bad", [-1, 2**16, 2**40, -(2**63)])
def test_a_value_out_of_range_is_refused_by_the_hospital(bad):
    federation = Federation(terms_for(3))
    requests = federation.run_to(Stage.UPLOAD)
    values = federation.values["h0001"].copy()
    values[-1] = bad
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0001"].upload(requests["h0001"], lambda: values)
    assert refused.value.code is RefusalCode.UPDATE_UNUSABLE


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.0000001, -2.0])
def test_a_float_out_of_range_is_refused_before_the_cast(bad):
    update = np.zeros(5)
    update[3] = bad
    with pytest.raises(RuleBroken) as refused:
        ring.quantise(update, 1.0, 16)
    assert refused.value.code is RefusalCode.UPDATE_UNUSABLE


@pytest.mark.parametrize("count", [3, 32, 33])
def test_the_largest_values_of_everybody_fit(count):
    federation = Federation(terms_for(count))
    for values in federation.values.values():
        values[:] = 2**16 - 1
    assert (federation.run() == count * (2**16 - 1)).all()


def test_control_lanes_without_headroom_wrap_silently(monkeypatch):
    """Weakened: lanes for three hospitals serve thirty-three; the sum is wrong and nobody says so."""
    narrow = ring.layout_for(16, 3)
    monkeypatch.setattr("fedpriv.secagg.terms.layout_for", lambda _bits, _hospitals: narrow)
    federation = Federation(terms_for(33))
    for values in federation.values.values():
        values[:] = 2**16 - 1
    assert (federation.run() != 33 * (2**16 - 1)).any()


def test_control_a_cast_turns_not_a_number_into_a_number():
    with np.errstate(invalid="ignore"):
        assert np.isfinite(np.array([np.nan]).astype(np.int64)).all()
