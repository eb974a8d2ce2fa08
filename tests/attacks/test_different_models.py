"""Different models to different hospitals (Pasquini et al. 2021): what one is shown shapes its update.

The coordinator gives the victim a model whose update it can read from the sum. Every signature of the
victim names that model, and every mask depends on it.
"""

import numpy as np
import pytest
from support.federation import Federation, signing_key, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg import checks, coordinator, hospital
from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.key_agreement import Channel, self_mask
from fedpriv.secagg.masks import add_masks
from fedpriv.secagg.messages import (
    Advertisement,
    AdvertisementList,
    Commitment,
    Envelope,
    MaskedUpdate,
    Stage,
    decode,
    encode,
)
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import unpack


def invite(federation):
    """Show the victim another model; give everybody's advertisement, each with its own model digest."""
    victim, *others = federation.terms.hospitals
    requests = federation.coordinator.open(federation.model)
    crafted = Envelope(Stage.ADVERTISE, requests[victim].body, bytes(len(federation.model)))
    replies = [federation.hospitals[victim].advertise(crafted)]
    replies += [federation.hospitals[name].advertise(requests[name]) for name in others]
    return [decode(reply.body, Advertisement) for reply in replies]


def test_a_hospital_refuses_peers_that_were_shown_another_model():
    federation = Federation(terms_for(3))
    listed = AdvertisementList(tuple(invite(federation)))
    for name in federation.terms.hospitals:
        with pytest.raises(RuleBroken) as refused:
            federation.hospitals[name].share(Envelope(Stage.SHARE, encode(listed)))
        assert refused.value.code is RefusalCode.WRONG_MODEL


def test_the_coordinator_drops_a_hospital_that_signed_another_model():
    federation = Federation(terms_for(3))
    entry = invite(federation)[0]
    with pytest.raises(RuleBroken) as refused:
        federation.coordinator.receive(entry.name, Envelope(Stage.ADVERTISE, encode(entry)))
    assert refused.value.code is RefusalCode.WRONG_MODEL
    assert federation.coordinator.refusals == {entry.name: RefusalCode.WRONG_MODEL}


class TwoFaced(CoordinatorRound):
    """Shows the first hospital another model, and never looks at what anybody signed."""

    def open(self, model):
        requests = super().open(model)
        victim = self.terms.hospitals[0]
        requests[victim] = Envelope(Stage.ADVERTISE, requests[victim].body, bytes(len(model)))
        return requests

    def _take_update(self, name, update: MaskedUpdate, vector):
        update = MaskedUpdate(name=name, context=self._context, vector_digest=update.vector_digest)
        super()._take_update(name, update.sealed_by(signing_key(name)), vector)


def two_faced(monkeypatch, coordinator_class):
    """A round of hospitals that do not compare models, as in every framework read."""
    monkeypatch.setattr(
        checks, "advertisement", lambda entry, terms, keys, _model: entry.verify(keys[entry.name])
    )
    monkeypatch.setattr(checks, "commitment", lambda entry, keys, _cohort: entry.verify(keys[entry.name]))
    federation = Federation(terms_for(3))
    federation.coordinator = coordinator_class(
        terms=federation.terms, roster=federation.roster, signing_key=signing_key("coordinator")
    )
    return federation


def freeze_channels(monkeypatch):
    """Let shares open across views, so that the attack gets as far as the masks."""
    for module in (hospital, coordinator):
        bound = module.cohort_digest
        monkeypatch.setattr(
            module, "cohort_digest", lambda terms, model, _list, bound=bound: bound(terms, model, ())
        )
    init = Channel.__init__

    def without_cohort(self, channel_key, peer_key, **names):
        init(self, channel_key, peer_key, **(names | {"cohort": b""}))

    monkeypatch.setattr(Channel, "__init__", without_cohort)


class NextToHonest(TwoFaced):
    """Shows two models but compares contexts as the real one does."""

    _take_update = CoordinatorRound._take_update


def test_the_signed_views_show_who_saw_what_and_the_round_fails_closed(monkeypatch):
    federation = two_faced(monkeypatch, NextToHonest)
    freeze_channels(monkeypatch)
    with pytest.raises(RoundFailed, match="h0000 signed another view"):
        federation.run()
    record = federation.coordinator.record
    assert record.updates[0].context != record.context
    with pytest.raises(RoundFailed):
        federation.coordinator.advance()


def test_masks_that_bind_the_model_leave_the_two_faced_coordinator_with_noise(monkeypatch):
    """Even hospitals that compare nothing: the pair seeds differ, so nothing cancels."""
    federation = two_faced(monkeypatch, TwoFaced)
    freeze_channels(monkeypatch)
    requests = federation.run_to(Stage.AGREE)
    assert set(requests) == set(federation.terms.hospitals)
    total = open_without_consent(federation)
    assert (total != federation.expected(federation.terms.hospitals)).sum() > 25  # of 30


def test_control_masks_that_bind_nothing_cancel(monkeypatch):
    federation = two_faced(monkeypatch, TwoFaced)
    freeze_channels(monkeypatch)
    for module in (hospital, coordinator):
        monkeypatch.setattr(module, "context_digest", lambda *_view: bytes(32))
    federation.run_to(Stage.AGREE)
    total = open_without_consent(federation)
    np.testing.assert_array_equal(total, federation.expected(federation.terms.hospitals))


def open_without_consent(federation):
    """Remove the self-masks with seeds taken from the hospitals: an attacker stronger than any real one."""

    machine = federation.coordinator
    masks = [
        self_mask(federation.seeds[name], name, federation.hospitals[name].context).negated()
        for name in federation.terms.hospitals
    ]
    add_masks(machine._accumulator, masks)
    return unpack(machine._accumulator, federation.terms.parameters, federation.terms.layout)


def test_views_are_compared_before_any_share_is_made():
    """The model digest is part of the commitment's cohort digest too."""
    federation = Federation(terms_for(3))
    federation.exchange(federation.run_to(Stage.SHARE))
    commitment = federation.coordinator.record.commitments[0]
    other = Commitment(
        name=commitment.name,
        cohort_digest=b"?" * 32,
        self_mask_digest=commitment.self_mask_digest,
        ciphertexts_digest=commitment.ciphertexts_digest,
    ).sealed_by(signing_key(commitment.name))
    with pytest.raises(RuleBroken) as refused:
        checks.commitment(other, federation.roster, commitment.cohort_digest)
    assert refused.value.code is RefusalCode.WRONG_CONTEXT
