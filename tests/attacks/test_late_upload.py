"""A hospital declared dropped whose upload was only late: its mask key is known, its self-mask is not.

Without self-masks (the first protocol of Bonawitz et al. 2017, section 4.0.2) the late update is read.
"""

import numpy as np
import pytest
from support.attacker import context_of, pair_masks_of, rebuild_secret, self_mask_of, stripped
from support.federation import Federation, terms_for

from fedpriv.secagg import hospital, unmasking
from fedpriv.secagg.masks import Mask
from fedpriv.secagg.messages import Advertisement, Stage, decode


def late_update(federation):
    """Hold the victim's upload back, open the sum without it, then strip what is known of it."""
    victim = federation.terms.hospitals[0]
    requests = federation.run_to(Stage.UPLOAD)
    late = federation.answer(victim, requests.pop(victim))
    federation.exchange(requests)
    federation.exchange(federation.coordinator.advance())
    federation.exchange(federation.coordinator.advance())
    federation.coordinator.total()
    answers = {name: federation.replies[Stage.UNMASK, name] for name in federation.terms.hospitals[1:]}
    with pytest.raises(LookupError):
        rebuild_secret(federation.terms, answers, victim, "self_mask_shares")
    private = rebuild_secret(federation.terms, answers, victim, "mask_key_shares")
    keys = {
        name: decode(federation.replies[Stage.ADVERTISE, name].body, Advertisement).mask_key
        for name in federation.terms.hospitals
    }
    context = context_of(late)
    pairs = pair_masks_of(victim, private, keys, context)
    return late, pairs, federation.values[victim]


def test_the_self_mask_still_covers_the_late_update():
    federation = Federation(terms_for(4))
    late, pairs, values = late_update(federation)
    assert (stripped(federation.terms, late, pairs) != values).sum() > 25  # of 30


def test_with_the_seed_it_would_be_open():
    federation = Federation(terms_for(4))
    victim = federation.terms.hospitals[0]
    late, pairs, values = late_update(federation)
    own = self_mask_of(victim, federation.seeds[victim], context_of(late))
    np.testing.assert_array_equal(stripped(federation.terms, late, [own, *pairs]), values)


def test_control_without_self_masks_the_late_update_is_read(monkeypatch):
    constant = Mask(bytes(32))
    monkeypatch.setattr(hospital, "self_mask", lambda *_: constant)
    monkeypatch.setattr(unmasking, "self_mask", lambda *_: constant)
    federation = Federation(terms_for(4))
    late, pairs, values = late_update(federation)
    np.testing.assert_array_equal(stripped(federation.terms, late, [constant, *pairs]), values)


def test_a_late_reply_is_not_taken():
    federation = Federation(terms_for(4))
    requests = federation.run_to(Stage.UPLOAD)
    late = federation.answer("h0000", requests.pop("h0000"))
    federation.exchange(requests)
    federation.coordinator.advance()
    with pytest.raises(Exception, match="not awaited"):
        federation.coordinator.receive("h0000", late)
