"""One corrupt share: the sum must not come out silently wrong."""

import numpy as np
import pytest
from support.federation import Federation, signing_key, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg import coordinator, unmasking
from fedpriv.secagg.messages import Envelope, HeldShare, Stage, UnmaskShares, decode, encode
from fedpriv.secagg.shares import PRIME, element


def corrupt(reply: Envelope, liar: str, field: str) -> Envelope:
    """The liar's answer with one bit of its first share of this kind turned over, signed again."""
    answer = decode(reply.body, UnmaskShares)
    first, *rest = getattr(answer, field)
    wrong = HeldShare(first.owner, first.share[:-1] + bytes([first.share[-1] ^ 1]))
    parts = {name: getattr(answer, name) for name in answer.__struct_fields__}
    parts |= {field: (wrong, *rest), "signature": b""}
    return Envelope(reply.stage, encode(UnmaskShares(**parts).sealed_by(signing_key(liar))))


def total_with_a_lie(federation, field, lost=()):
    """The sum if one hospital lies and no more than the threshold answer, so that every share is needed."""
    requests = federation.run_to(Stage.UNMASK, {Stage.UPLOAD: lost})
    requests = dict(sorted(requests.items())[: federation.terms.threshold])
    liar = min(requests)
    for name, request in requests.items():
        reply = federation.answer(name, request)
        federation.coordinator.receive(name, corrupt(reply, liar, field) if name == liar else reply)
    return federation.coordinator.total()


def test_a_corrupt_self_mask_share_fails_the_round():
    with pytest.raises(RoundFailed, match="no 3 of the 3 shares tried of a secret of h0000"):
        total_with_a_lie(Federation(terms_for(4)), "self_mask_shares")


def test_a_corrupt_mask_key_share_fails_the_round():
    with pytest.raises(RoundFailed, match="no 3 of the 3 shares tried of a secret of h0003"):
        total_with_a_lie(Federation(terms_for(4)), "mask_key_shares", lost=["h0003"])


def test_a_failed_round_gives_no_sum_on_a_second_try():
    federation = Federation(terms_for(4))
    with pytest.raises(RoundFailed):
        total_with_a_lie(federation, "self_mask_shares")
    with pytest.raises(RoundFailed, match="already failed"):
        federation.coordinator.total()


def test_control_without_the_commitment_the_sum_is_silently_wrong(monkeypatch):
    federation = Federation(terms_for(4))
    monkeypatch.setattr(unmasking, "self_mask_digest", lambda *_parts: b"same" * 8)
    monkeypatch.setattr("fedpriv.secagg.hospital.self_mask_digest", lambda *_parts: b"same" * 8)
    monkeypatch.setattr(unmasking, "rebuild", rebuild_anything)
    monkeypatch.setattr(coordinator, "check_sum", lambda *_: None)
    total = total_with_a_lie(federation, "self_mask_shares")
    assert (total != federation.expected(federation.terms.hospitals)).any()


def rebuild_anything(shares, weights):
    """A rebuild that never notices that the secret is out of range."""
    total = sum(w * element(s) for w, s in zip(weights, shares, strict=True)) % PRIME
    return (total % 2**256).to_bytes(32, "big")


def test_a_share_outside_the_field_fails_the_round(monkeypatch):
    federation = Federation(terms_for(4))
    monkeypatch.setattr(coordinator.UnmaskShares, "verify", lambda *_: None)
    requests = federation.run_to(Stage.UNMASK)
    for name, request in requests.items():
        answer = decode(federation.answer(name, request).body, UnmaskShares)
        shares = tuple(HeldShare(held.owner, b"\xff" * 33) for held in answer.self_mask_shares)
        parts = {field: getattr(answer, field) for field in answer.__struct_fields__}
        wrong = UnmaskShares(**(parts | {"self_mask_shares": shares}))
        federation.coordinator.receive(name, Envelope(Stage.UNMASK, encode(wrong)))
    with pytest.raises(RoundFailed, match="no 3 of the 4 shares tried"):
        federation.coordinator.total()
    assert np.count_nonzero(federation.coordinator._accumulator) > 0
