"""Two lists of participants: the victim masks with a few peers, which the others then see as dropped.

The coordinator sends the victim and its peers one list of commitments, and everybody another. The peers are
in no list of survivors, so the others give shares of their mask keys, and of the victim's self-mask seed:
all masks of the victim are then known. It takes t hospitals on the small list, since fewer refuse to mask,
and t others to answer. A colluder counts on both sides, an honest hospital on one: 2t <= n + c, which no
study may have.
"""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support.attacker import context_of, rebuild_secret, self_mask_of, stripped
from support.federation import Federation, signing_key, terms_for

from fedpriv.secagg.key_agreement import pair_mask
from fedpriv.secagg.messages import (
    Advertisement,
    Agreement,
    AgreementList,
    Envelope,
    HeldShare,
    Mailbox,
    Stage,
    SurvivorList,
    UnmaskShares,
    decode,
    encode,
)
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.terms import context_digest, survivors_digest


def mailbox(request, members):
    """What the honest coordinator asks of a hospital, cut down to ``members``."""
    whole = decode(request.body, Mailbox)
    commitments = tuple(entry for entry in whole.commitments if entry.name in members)
    letters = tuple(letter for letter in whole.ciphertexts if letter.name in members)
    return Envelope(Stage.UPLOAD, encode(Mailbox(commitments, letters)))


class Split:
    """One round in which one list has the victim, ``few`` peers and the colluders, the other everybody."""

    def __init__(self, terms, few):
        self.terms = terms
        self.federation = Federation(terms)
        self.requests = self.federation.run_to(Stage.UPLOAD)
        self.victim, *others = terms.hospitals
        self.colluders, honest = others[: terms.colluders], others[terms.colluders :]
        self.peers, self.rest = honest[:few], honest[few:]
        machines = self.federation.hospitals
        self.keys = {name: machines[name]._keys.mask_key for name in self.colluders}
        self.held = {}

    def open_victim(self):
        """The victim's values, from its upload and what all others answered."""
        upload = self.upload()
        answers = self.answers()
        context = context_of(upload)
        seed = rebuild_secret(self.terms, answers, self.victim, "self_mask_shares")
        known = self.keys | {
            peer: X25519PrivateKey.from_private_bytes(
                rebuild_secret(self.terms, answers, peer, "mask_key_shares")
            )
            for peer in self.peers
        }
        advertised = decode(self.federation.replies[Stage.ADVERTISE, self.victim].body, Advertisement)
        masks = [self_mask_of(self.victim, seed, context)] + [
            pair_mask(key, advertised.mask_key, peer, self.victim, context).negated()
            for peer, key in known.items()
        ]
        return stripped(self.terms, upload, masks)

    def upload(self):
        """The victim's upload under the small list; the rest and the colluders mask under the whole one."""
        hospitals, values = self.federation.hospitals, self.federation.values
        small = {self.victim, *self.peers, *self.colluders}
        request = mailbox(self.requests[self.victim], small)
        upload = hospitals[self.victim].upload(request, lambda: values[self.victim])
        for name in (*self.rest, *self.colluders):
            hospitals[name].upload(self.requests[name], lambda name=name: values[name])
            self.held[name] = dict(hospitals[name]._held)
        return upload

    def answers(self):
        """UNMASK replies of those who saw the whole list, for survivors without the victim's peers."""
        commitments = decode(self.requests[self.victim].body, Mailbox).commitments
        context = context_digest(self.federation.coordinator._cohort, commitments)
        survivors = tuple(sorted((self.victim, *self.rest, *self.colluders)))
        request = Envelope(Stage.AGREE, encode(SurvivorList(context, survivors)))
        signed = [
            decode(self.federation.hospitals[name].agree(request).body, Agreement) for name in self.rest
        ]
        signed += [
            Agreement(name=name, context=context, survivors_digest=survivors_digest(survivors)).sealed_by(
                signing_key(name)
            )
            for name in self.colluders
        ]
        signed.sort(key=lambda agreement: agreement.name)
        request = Envelope(Stage.UNMASK, encode(AgreementList(tuple(signed))))
        answers = {name: self.federation.hospitals[name].unmask(request) for name in self.rest}
        return answers | {name: self.everything_of(name, context) for name in self.colluders}

    def everything_of(self, colluder, context):
        """All shares that a colluder holds, of both kinds."""
        held = self.held[colluder].items()
        answer = UnmaskShares(
            name=colluder,
            context=context,
            self_mask_shares=tuple(HeldShare(owner, pair[0]) for owner, pair in held),
            mask_key_shares=tuple(HeldShare(owner, pair[1]) for owner, pair in held),
        )
        return Envelope(Stage.UNMASK, encode(answer.sealed_by(signing_key(colluder))))


CASES = [(n, c, few) for n in range(3, 9) for c in range(min(3, n - 1)) for few in range(n - c - 1)]


@pytest.mark.parametrize(("n", "colluders", "few"), CASES)
def test_no_split_opens_the_victim(n, colluders, few):
    terms = terms_for(n, colluders=colluders)
    with pytest.raises(RuleBroken) as refused:
        Split(terms, few).open_victim()
    assert refused.value.code in {RefusalCode.COHORT_TOO_SMALL, RefusalCode.TOO_FEW_AGREEMENTS}


@pytest.mark.parametrize(
    ("n", "colluders", "threshold"), [(4, 0, 2), (6, 0, 3), (5, 1, 3), (7, 1, 4), (8, 2, 5)]
)
def test_control_with_twice_the_threshold_at_n_plus_c_it_does(monkeypatch, n, colluders, threshold):
    monkeypatch.setattr("fedpriv.secagg.terms.RoundTerms.__post_init__", lambda _self: None)
    terms = terms_for(
        n, colluders=colluders, threshold=threshold, dropouts=n - threshold, smallest_cohort=threshold
    )
    split = Split(terms, threshold - 1 - colluders)
    np.testing.assert_array_equal(split.open_victim(), split.federation.values[split.victim])
