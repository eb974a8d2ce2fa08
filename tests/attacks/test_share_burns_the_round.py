"""One hospital answers with garbage for shares: everybody has trained and paid, and nobody gets a sum."""

import msgspec
import numpy as np
import pytest
from support.federation import Federation, signing_key, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg import coordinator, unmasking
from fedpriv.secagg.messages import Envelope, HeldShare, Stage, UnmaskShares, decode, encode
from fedpriv.secagg.refusal import RefusalCode

ZERO, OUTSIDE = bytes(33), b"\xff" * 33


def garbage(reply, liar, share):
    """The liar's answer with ``share`` in place of every one of its own, signed again."""
    answer = decode(reply.body, UnmaskShares)
    changed = {
        kind: tuple(HeldShare(held.owner, share) for held in getattr(answer, kind))
        for kind in ("self_mask_shares", "mask_key_shares")
    }
    return Envelope(
        reply.stage, encode(msgspec.structs.replace(answer, **changed).sealed_by(signing_key(liar)))
    )


def attack(federation, liars, share=ZERO, lost=()):
    """Run a round in which the ``liars`` answer UNMASK with garbage; give the sum that is opened."""
    for name, request in federation.run_to(Stage.UNMASK, {Stage.UPLOAD: lost}).items():
        reply = federation.answer(name, request)
        federation.coordinator.receive(name, garbage(reply, name, share) if name in liars else reply)
    return federation.coordinator.total()


@pytest.mark.parametrize("share", [ZERO, OUTSIDE], ids=["zero", "outside the field"])
@pytest.mark.parametrize("liar", ["h0000", "h0003"])
def test_the_sum_is_opened_from_the_shares_that_fit(liar, share):
    federation = Federation(terms_for(6, dropouts=2, smallest_cohort=4))
    others = [name for name in federation.terms.hospitals if name != "h0005"]
    total = attack(federation, [liar], share, lost=["h0005"])
    np.testing.assert_array_equal(total, federation.expected(others))


def test_whose_share_does_not_fit_is_known():
    federation = Federation(terms_for(5))
    attack(federation, ["h0001"])
    assert federation.coordinator.unfit_shares == {"h0001": ["h0000"]}  # from then on it is asked last
    assert federation.coordinator.record.refusals == {"h0001": RefusalCode.BAD_SHARE}


def test_a_lie_about_shares_that_are_not_needed_changes_nothing():
    federation = Federation(terms_for(5))
    np.testing.assert_array_equal(
        attack(federation, ["h0004"]), federation.expected(federation.terms.hospitals)
    )
    assert federation.coordinator.unfit_shares == {}


def test_two_liars_side_by_side_are_left_out():
    federation = Federation(terms_for(7, dropouts=3))
    total = attack(federation, ["h0001", "h0002"])
    np.testing.assert_array_equal(total, federation.expected(federation.terms.hospitals))
    assert federation.coordinator.unfit_shares == {"h0001": ["h0000"], "h0002": ["h0000"]}


def test_two_liars_who_leave_no_threshold_in_a_row_fail_the_round_closed():
    federation = Federation(terms_for(7, dropouts=3))
    with pytest.raises(RoundFailed, match="no 4 of the 7 shares tried of a secret of h0000"):
        attack(federation, ["h0001", "h0004"])
    with pytest.raises(RoundFailed, match="already failed"):
        federation.coordinator.total()


def test_without_a_share_to_spare_one_liar_fails_the_round_closed():
    federation = Federation(terms_for(5, threshold=5, dropouts=0, smallest_cohort=5))
    with pytest.raises(RoundFailed, match="no 5 of the 5 shares tried"):
        attack(federation, ["h0002"])


class FirstOnly(unmasking.Unmasking):
    """Weakened: looks at the first t shares of each secret alone."""

    def _rebuild(self, owner, shares, is_right):
        first = sorted(shares)[: self.graph.threshold]
        return super()._rebuild(owner, {name: shares[name] for name in first}, is_right)


def test_control_a_coordinator_that_looks_at_the_first_shares_alone_loses_the_round(monkeypatch):
    monkeypatch.setattr(coordinator, "Unmasking", FirstOnly)
    with pytest.raises(RoundFailed, match="no 3 of the 3 shares tried"):
        attack(Federation(terms_for(5)), ["h0001"])
