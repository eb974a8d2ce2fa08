"""Stages out of order: skipping AGREE, asking for shares before anybody agreed, going back."""

import itertools

import pytest
from support.attacker import rebuild_secret
from support.federation import Federation, terms_for

from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import AgreementList, Envelope, Stage, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

PAIRS = list(itertools.permutations(Stage, 2))
SKIPPED = [(due, asked) for due, asked in PAIRS if asked > due]
REPEATED = [(due, asked) for due, asked in PAIRS if asked < due < Stage.CLOSE]


@pytest.fixture(scope="module")
def real_requests():
    """One honest request of every stage, for h0001."""
    federation = Federation(terms_for(3))
    requests = {Stage.ADVERTISE: federation.coordinator.open(federation.model)}
    for stage in list(Stage)[:-2]:
        federation.exchange(requests[stage])
        requests[Stage(stage + 1)] = federation.coordinator.advance()
    federation.exchange(requests[Stage.UNMASK])
    federation.coordinator.total()
    requests[Stage.CLOSE] = federation.coordinator.close(b"M" * 32, b"P" * 32)
    return {stage: asked["h0001"] for stage, asked in requests.items()}


@pytest.mark.parametrize(("due", "asked"), SKIPPED)
def test_no_stage_can_be_skipped(real_requests, due, asked):
    federation = Federation(terms_for(3))
    federation.run_to(due)
    with pytest.raises(RuleBroken) as refused:
        federation.answer("h0001", real_requests[asked])
    assert refused.value.code is RefusalCode.OUT_OF_ORDER


@pytest.mark.parametrize(("due", "asked"), REPEATED)
def test_no_stage_can_be_repeated_with_other_content(real_requests, due, asked):
    federation = Federation(terms_for(3))
    federation.run_to(due)
    altered = Envelope(asked, real_requests[asked].body + b"\xc0", real_requests[asked].vector)
    with pytest.raises(RuleBroken) as refused:
        federation.answer("h0001", altered)
    assert refused.value.code is RefusalCode.REPEATED_DIFFERENTLY


@pytest.mark.parametrize(
    ("method", "more"),
    [("advertise", ()), ("share", ()), ("agree", ()), ("unmask", ()), ("close", (b"H" * 32,))],
)
def test_an_envelope_of_another_stage_is_refused(real_requests, method, more):
    machine = Federation(terms_for(3)).hospitals["h0001"]
    with pytest.raises(RuleBroken) as refused:
        getattr(machine, method)(real_requests[Stage.UPLOAD], *more)
    assert refused.value.code is RefusalCode.OUT_OF_ORDER


@pytest.mark.parametrize("stage", list(Stage)[1:5], ids=lambda stage: stage.name)
def test_a_vector_where_none_belongs_is_refused(stage):
    federation = Federation(terms_for(3))
    request = federation.run_to(stage)["h0001"]
    with pytest.raises(RuleBroken) as refused:
        federation.answer("h0001", Envelope(stage, request.body, b"\0" * 8))
    assert refused.value.code is RefusalCode.MALFORMED


def shares_without_agreement(federation):
    """UNMASK right after UPLOAD, with no agreement at all."""
    federation.exchange(federation.run_to(Stage.UPLOAD))
    request = Envelope(Stage.UNMASK, encode(AgreementList(())))
    return {name: machine.unmask(request) for name, machine in federation.hospitals.items()}


def test_shares_do_not_leave_before_the_agreement():
    with pytest.raises(RuleBroken) as refused:
        shares_without_agreement(Federation(terms_for(3)))
    assert refused.value.code is RefusalCode.OUT_OF_ORDER


class AnyOrder(HospitalRound):
    """Weakened: answers whatever it is asked and counts no agreements."""

    def _once(self, stage, request, answer):
        del stage
        return answer(request)


def test_control_a_hospital_without_order_gives_its_mask_key_away(monkeypatch):
    """Nobody has agreed, so everybody looks dropped and every mask key is handed over."""
    monkeypatch.setattr("fedpriv.secagg.checks.agreements", lambda *_: None)
    federation = Federation(terms_for(3), hospital_class=AnyOrder)
    keys = {
        name: federation.hospitals[name]._keys.mask_key.private_bytes_raw()
        for name in federation.terms.hospitals
    }
    answers = shares_without_agreement(federation)
    for name, key in keys.items():
        assert rebuild_secret(federation.terms, answers, name, "mask_key_shares") == key
