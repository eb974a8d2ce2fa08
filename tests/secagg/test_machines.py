"""The two state machines apart from attacks: secrets, repeats, refusals, and what the record holds."""

import gc

import msgspec
import numpy as np
import pytest
from support.federation import Federation, public_key, signing_key, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg import messages
from fedpriv.secagg.hospital import _Keys
from fedpriv.secagg.messages import (
    Commitment,
    Envelope,
    RoundReceipt,
    ShareDelivery,
    Stage,
    UnmaskShares,
    decode,
    encode,
    refusal,
)
from fedpriv.secagg.record import RoundRecord
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.terms import ciphertexts_digest


def rebuilt(message, **changes):
    """``message`` with other fields, not signed again."""
    return msgspec.structs.replace(message, **changes)


def test_secrets_are_gone_once_they_are_used():
    federation = Federation(terms_for(3))
    federation.exchange(federation.run_to(Stage.UPLOAD))
    machine = federation.hospitals["h0000"]
    assert machine._keys is None
    assert len(machine._held) == 3
    federation.exchange(federation.coordinator.advance())
    federation.exchange(federation.coordinator.advance())
    assert machine._held == {}
    gc.collect()
    assert not [entry for entry in gc.get_objects() if isinstance(entry, _Keys)]


@pytest.mark.parametrize("stage", list(Stage)[:5], ids=lambda stage: stage.name)
def test_a_refusal_ends_the_round_and_forgets_everything(stage):
    federation = Federation(terms_for(3))
    request = federation.run_to(stage)["h0000"]
    machine = federation.hospitals["h0000"]
    with pytest.raises(RuleBroken):
        federation.answer("h0000", Envelope(stage, b"nonsense", request.vector))
    assert machine._keys is None
    assert machine._held == {}
    with pytest.raises(RuleBroken) as dead:
        federation.answer("h0000", request)
    assert dead.value.code is RefusalCode.ROUND_DEAD
    assert machine.reply_to(request) is None


def test_a_failing_trainer_ends_the_round_too():
    federation = Federation(terms_for(3))
    request = federation.run_to(Stage.UPLOAD)["h0000"]
    machine = federation.hospitals["h0000"]

    def train():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        machine.upload(request, train)
    assert machine._keys is None


def test_secrets_do_not_print():
    federation = Federation(terms_for(3))
    federation.exchange(federation.run_to(Stage.SHARE))
    machine = federation.hospitals["h0000"]
    assert machine._keys.self_mask_seed.hex() not in repr(machine) + repr(machine._keys)
    assert repr(machine._keys.self_mask_seed) not in repr(machine._keys)


@pytest.mark.parametrize("stage", Stage, ids=lambda stage: stage.name)
def test_the_same_request_gets_the_same_bytes(stage):
    federation = Federation(terms_for(3))
    if stage is Stage.CLOSE:
        federation.run()
        request = federation.coordinator.close(b"M" * 32, b"P" * 32)["h0000"]
    else:
        request = federation.run_to(stage)["h0000"]
    machine = federation.hospitals["h0000"]
    assert machine.reply_to(request) is None
    first = federation.answer("h0000", request)
    federation.values["h0000"] = federation.values["h0000"] * 0
    assert federation.answer("h0000", request) is first
    assert machine.reply_to(request) is first


def test_a_wrong_number_of_parameters_is_refused():
    federation = Federation(terms_for(3))
    request = federation.run_to(Stage.UPLOAD)["h0000"]
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].upload(request, lambda: np.zeros(29, dtype=np.int64))
    assert refused.value.code is RefusalCode.UPDATE_UNUSABLE


def test_what_a_hospital_lets_its_caller_know():
    federation = Federation(terms_for(3))
    machine = federation.hospitals["h0000"]
    assert (machine.context, machine.survivors) == (b"", ())
    federation.run({Stage.UPLOAD: ["h0002"]})
    assert machine.context == federation.coordinator.record.context
    assert machine.survivors == ("h0000", "h0001")


def test_survivors_without_this_hospital_are_refused():
    federation = Federation(terms_for(4))
    federation.exchange(federation.run_to(Stage.UPLOAD))
    others = messages.SurvivorList(federation.coordinator.record.context, ("h0001", "h0002", "h0003"))
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].agree(Envelope(Stage.AGREE, encode(others)))
    assert refused.value.code is RefusalCode.WRONG_PEERS


@pytest.mark.parametrize("change", ["survivors", "context", "head", "key"])
def test_a_receipt_that_tells_another_story_is_refused(change):
    federation = Federation(terms_for(3))
    federation.run()
    request = federation.coordinator.close(b"M" * 32, b"P" * 32)["h0000"]
    receipt = decode(request.body, RoundReceipt)
    heads = receipt.journal_heads
    other = {
        "survivors": {"survivors": receipt.survivors[:2]},
        "context": {"context": b"?" * 32},
        "head": {"journal_heads": (rebuilt(heads[0], head=b"?" * 32), *heads[1:])},
        "key": {},
    }[change]
    key = signing_key("h0001" if change == "key" else "coordinator")
    forged = rebuilt(receipt, **other).sealed_by(key)
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].close(Envelope(Stage.CLOSE, encode(forged)), b"H" * 32)
    expected = RefusalCode.BAD_SIGNATURE if change == "key" else RefusalCode.BAD_RECEIPT
    assert refused.value.code is expected


def test_a_refusal_takes_a_hospital_out_and_is_recorded():
    federation = Federation(terms_for(4))
    requests = federation.coordinator.open(federation.model)
    with pytest.raises(RuleBroken) as refused:
        federation.coordinator.receive("h0003", refusal(Stage.ADVERTISE, RefusalCode.BUDGET_SPENT))
    assert refused.value.code is RefusalCode.BUDGET_SPENT
    federation.exchange(requests, lost=["h0003"])
    assert set(federation.coordinator.advance()) == {"h0000", "h0001", "h0002"}
    assert federation.coordinator.record.refusals == {"h0003": RefusalCode.BUDGET_SPENT}


def test_replies_out_of_turn_are_not_taken():
    federation = Federation(terms_for(3))
    requests = federation.coordinator.open(federation.model)
    reply = federation.answer("h0000", requests["h0000"])
    federation.coordinator.receive("h0000", reply)
    assert federation.coordinator.awaited == {"h0001", "h0002"}
    for name, late in (("h0000", reply), ("stranger", reply), ("h0001", Envelope(Stage.SHARE, b""))):
        with pytest.raises(RuleBroken) as refused:
            federation.coordinator.receive(name, late)
        assert refused.value.code is RefusalCode.OUT_OF_ORDER
    assert federation.coordinator.refusals == {}


def test_the_coordinator_keeps_its_own_order():
    federation = Federation(terms_for(3))
    federation.exchange(federation.run_to(Stage.AGREE))
    coordinator = federation.coordinator
    with pytest.raises(RuleBroken) as early:
        coordinator.total()
    requests = coordinator.advance()
    for illegal in (coordinator.advance, lambda: coordinator.close(b"M" * 32, b"P" * 32)):
        with pytest.raises(RuleBroken) as refused:
            illegal()
        assert refused.value.code is early.value.code is RefusalCode.OUT_OF_ORDER
    federation.exchange(requests)
    coordinator.total()
    with pytest.raises(RuleBroken):
        coordinator.total()


def replies_with(stage, change):
    """A coordinator that awaits ``stage``, and h0000's reply to it changed and signed again."""
    federation = Federation(terms_for(4))
    lost = {Stage.UPLOAD: ["h0003"]} if stage > Stage.UPLOAD else {}
    if stage is Stage.CLOSE:
        federation.run(lost)
        requests = federation.coordinator.close(b"M" * 32, b"P" * 32)
    else:
        requests = federation.run_to(stage, lost)
    reply = federation.answer("h0000", requests["h0000"])
    return federation, change(reply)


def sealed(reply, kind, **changes):
    message = rebuilt(decode(reply.body, kind), **changes).sealed_by(signing_key("h0000"))
    return Envelope(reply.stage, encode(message), reply.vector)


def other_commitment(reply, **changes):
    delivery = decode(reply.body, ShareDelivery)
    commitment = rebuilt(delivery.commitment, **changes).sealed_by(signing_key("h0000"))
    return Envelope(reply.stage, encode(rebuilt(delivery, commitment=commitment)))


def fewer_letters(reply):
    delivery = decode(reply.body, ShareDelivery)
    letters = delivery.ciphertexts[1:]
    commitment = rebuilt(delivery.commitment, ciphertexts_digest=ciphertexts_digest(letters))
    commitment = commitment.sealed_by(signing_key("h0000"))
    return Envelope(reply.stage, encode(ShareDelivery(commitment, letters)))


def both_kinds(reply):
    answer = decode(reply.body, UnmaskShares)
    return sealed(reply, UnmaskShares, mask_key_shares=answer.self_mask_shares)


BAD_REPLIES = {
    "sends a vector beside its keys": (
        Stage.ADVERTISE,
        lambda r: Envelope(r.stage, r.body, b"\0" * 8),
        RefusalCode.MALFORMED,
    ),
    "commits to another cohort": (
        Stage.SHARE,
        lambda r: other_commitment(r, cohort_digest=b"?" * 32),
        RefusalCode.WRONG_CONTEXT,
    ),
    "commits to other letters": (
        Stage.SHARE,
        lambda r: other_commitment(r, ciphertexts_digest=b"?" * 32),
        RefusalCode.BAD_SHARE,
    ),
    "forgets a peer": (Stage.SHARE, fewer_letters, RefusalCode.WRONG_PEERS),
    "sends a short vector": (
        Stage.UPLOAD,
        lambda r: Envelope(r.stage, r.body, r.vector[:-8]),
        RefusalCode.UPDATE_UNUSABLE,
    ),
    "sends another vector": (
        Stage.UPLOAD,
        lambda r: Envelope(r.stage, r.body, bytes(len(r.vector))),
        RefusalCode.UPDATE_UNUSABLE,
    ),
    "agrees to another list": (
        Stage.AGREE,
        lambda r: sealed(r, messages.Agreement, survivors_digest=b"?" * 32),
        RefusalCode.WRONG_CONTEXT,
    ),
    "answers with both kinds": (Stage.UNMASK, both_kinds, RefusalCode.BAD_SHARE),
    "answers for another view": (
        Stage.UNMASK,
        lambda r: sealed(r, UnmaskShares, context=b"?" * 32),
        RefusalCode.BAD_SHARE,
    ),
    "acknowledges another receipt": (
        Stage.CLOSE,
        lambda r: sealed(r, messages.Closed, receipt_digest=b"?" * 32),
        RefusalCode.BAD_RECEIPT,
    ),
}


@pytest.mark.parametrize("kind", BAD_REPLIES)
def test_the_coordinator_drops_a_hospital_that(kind):
    stage, change, code = BAD_REPLIES[kind]
    federation, reply = replies_with(stage, change)
    with pytest.raises(RuleBroken) as refused:
        federation.coordinator.receive("h0000", reply)
    assert refused.value.code is code
    assert federation.coordinator.refusals == {"h0000": code}


def test_the_sum_is_exact_after_a_bad_upload_was_dropped():
    federation = Federation(terms_for(4))
    requests = federation.run_to(Stage.UPLOAD)
    reply = federation.answer("h0000", requests.pop("h0000"))
    with pytest.raises(RuleBroken):
        federation.coordinator.receive("h0000", Envelope(reply.stage, reply.body, bytes(len(reply.vector))))
    federation.exchange(requests)
    federation.exchange(federation.coordinator.advance())
    federation.exchange(federation.coordinator.advance())
    expected = federation.expected(["h0001", "h0002", "h0003"])
    np.testing.assert_array_equal(federation.coordinator.total(), expected)


def test_a_commitment_to_another_cohort_in_the_mailbox_is_refused():
    federation = Federation(terms_for(3))
    request = federation.run_to(Stage.UPLOAD)["h0000"]
    mailbox = decode(request.body, messages.Mailbox)
    foreign = rebuilt(mailbox.commitments[1], cohort_digest=b"?" * 32).sealed_by(signing_key("h0001"))
    commitments = (mailbox.commitments[0], foreign, mailbox.commitments[2])
    forged = Envelope(Stage.UPLOAD, encode(messages.Mailbox(commitments, mailbox.ciphertexts)))
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].upload(forged, dict)
    assert refused.value.code is RefusalCode.WRONG_CONTEXT


def test_too_few_neighbours_are_refused(monkeypatch):
    """In a sparse graph enough hospitals may be left in all, and too few around one of them."""
    monkeypatch.setattr("fedpriv.secagg.graph.COMPLETE_UP_TO", 5)
    monkeypatch.setattr("fedpriv.secagg.graph.sparse_parameters", lambda *_numbers: (2, 3))
    federation = Federation(terms_for(8))
    requests = federation.run_to(Stage.SHARE)
    first = federation.coordinator._graph.ring[0]
    federation.exchange(requests, lost=[federation.coordinator._graph.ring[1]])
    requests = federation.coordinator.advance()
    with pytest.raises(RuleBroken) as refused:
        federation.answer(first, requests[first])
    assert refused.value.code is RefusalCode.COHORT_TOO_SMALL


def test_too_few_shares_of_one_hospital_fail_the_round(monkeypatch):
    monkeypatch.setattr("fedpriv.secagg.graph.COMPLETE_UP_TO", 5)
    monkeypatch.setattr("fedpriv.secagg.graph.sparse_parameters", lambda *_numbers: (2, 3))
    federation = Federation(terms_for(8))
    requests = federation.run_to(Stage.UNMASK)
    ring = federation.coordinator._graph.ring
    federation.exchange(requests, lost=ring[:1])
    with pytest.raises(RoundFailed, match="2 shares of a secret"):
        federation.coordinator.total()


def test_a_sparse_dropout_whose_peers_are_gone_needs_no_key(monkeypatch):
    """Nobody in the sum masked with it: its key is neither needed nor rebuilt."""
    monkeypatch.setattr("fedpriv.secagg.graph.COMPLETE_UP_TO", 5)
    monkeypatch.setattr("fedpriv.secagg.graph.sparse_parameters", lambda *_numbers: (2, 1))
    federation = Federation(terms_for(8))
    requests = federation.run_to(Stage.UPLOAD)
    ring = federation.coordinator._graph.ring
    federation.exchange(requests, lost=ring[:3])
    federation.exchange(federation.coordinator.advance())
    federation.exchange(federation.coordinator.advance())
    np.testing.assert_array_equal(federation.coordinator.total(), federation.expected(ring[3:]))


def test_the_record_survives_json_and_its_signatures_verify():
    federation = Federation(terms_for(3))
    federation.run()
    federation.exchange(federation.coordinator.close(b"M" * 32, b"P" * 32))
    record = msgspec.json.decode(msgspec.json.encode(federation.coordinator.record), type=RoundRecord)
    assert record == federation.coordinator.record
    for signed in (*record.advertisements, *record.commitments, *record.updates, *record.agreements):
        signed.verify(public_key(signed.name))
    record.receipt.verify(public_key("coordinator"))
    assert record.answered == ("h0000", "h0001", "h0002")
    assert isinstance(record.commitments[0], Commitment)


def test_the_record_holds_no_share_and_no_vector():
    federation = Federation(terms_for(3))
    federation.run()
    text = msgspec.msgpack.encode(federation.coordinator.record)
    for reply in federation.replies.values():
        assert not reply.vector or reply.vector not in text
    shares = decode(federation.replies[Stage.UNMASK, "h0000"].body, UnmaskShares).self_mask_shares
    assert all(held.share not in text for held in shares)
