"""Messages of one round shown in another: every signature names its round, every context binds it."""

import numpy as np
import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg import checks
from fedpriv.secagg.messages import Signed, Stage
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

EXPECTED = {
    Stage.ADVERTISE: RefusalCode.WRONG_RUN,
    Stage.SHARE: RefusalCode.OWN_ENTRY_CHANGED,
    Stage.UPLOAD: RefusalCode.OWN_ENTRY_CHANGED,
    Stage.AGREE: RefusalCode.WRONG_CONTEXT,
    Stage.UNMASK: RefusalCode.WRONG_CONTEXT,
}


@pytest.mark.parametrize("stage", EXPECTED, ids=lambda stage: stage.name)
@pytest.mark.parametrize("change", [{"round": 2}, {"run": b"another run 0000"}], ids=["round", "run"])
def test_a_request_of_another_round_is_refused(stage, change):
    here, there = Federation(terms_for(3)), Federation(terms_for(3, **change))
    here.run_to(stage)
    foreign = there.run_to(stage)
    with pytest.raises(RuleBroken) as refused:
        here.answer("h0001", foreign["h0001"])
    assert refused.value.code is EXPECTED[stage]


@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.SHARE, Stage.AGREE, Stage.UNMASK])
def test_a_reply_of_another_round_is_refused_by_the_coordinator(stage):
    here, there = Federation(terms_for(3)), Federation(terms_for(3, round=2))
    here.run_to(stage)
    there.exchange(there.run_to(stage))
    with pytest.raises(RuleBroken):
        here.coordinator.receive("h0001", there.replies[stage, "h0001"])
    assert "h0001" in here.coordinator.refusals


def test_one_foreign_advertisement_in_the_list_is_refused():
    """The coordinator swaps a peer's fresh keys for its keys of an earlier round."""
    here, there = Federation(terms_for(3)), Federation(terms_for(3, round=2))
    assert swap_one_advertisement(here, there) is RefusalCode.WRONG_RUN


def swap_one_advertisement(here, there):
    requests = here.coordinator.open(here.model)
    there.exchange(there.coordinator.open(there.model))
    old = {entry.name: entry for entry in there.coordinator.record.advertisements}
    here.exchange(requests)
    here.coordinator._advertisements["h0002"] = old["h0002"]
    swapped = here.coordinator.advance()
    try:
        here.hospitals["h0000"].share(swapped["h0000"])
    except RuleBroken as error:
        return error.code
    return None


def test_control_a_hospital_that_does_not_read_the_round_accepts_old_keys(monkeypatch):
    monkeypatch.setattr(checks, "invitation", lambda *_: None)
    here, there = Federation(terms_for(3)), Federation(terms_for(3, round=2))
    assert swap_one_advertisement(here, there) is None


def test_a_signature_for_one_purpose_is_none_for_another():
    federation = Federation(terms_for(3))
    federation.run()
    signed = [
        *federation.coordinator.record.advertisements,
        *federation.coordinator.record.commitments,
        *federation.coordinator.record.updates,
        *federation.coordinator.record.agreements,
    ]
    purposes = {kind.purpose for kind in Signed.__subclasses__()}
    assert len(purposes) == len(Signed.__subclasses__())
    for message in signed:
        message.verify(federation.roster[message.name])
        others = [key for name, key in federation.roster.items() if name != message.name]
        for key in others:
            with pytest.raises(RuleBroken):
                message.verify(key)


def test_sums_of_two_rounds_are_both_exact():
    for number in (1, 2):
        federation = Federation(terms_for(3, round=number), last_round=number - 1)
        np.testing.assert_array_equal(federation.run(), federation.expected(federation.terms.hospitals))
