"""A request that names a victim as alive to some and as dropped to others, to get both kinds of shares.

The coordinator runs AGREE and UNMASK twice, once with the victim among the survivors and once without.
"""

import numpy as np
import pytest
from support.attacker import context_of, pair_masks_of, rebuild_secret, self_mask_of, stripped
from support.federation import Federation, terms_for

from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import (
    Advertisement,
    Agreement,
    AgreementList,
    Envelope,
    Stage,
    SurvivorList,
    decode,
    encode,
)
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


class AnswersTwice(HospitalRound):
    """Weakened: every stage is answered again, whatever was answered before."""

    def _once(self, stage, request, answer):
        del stage
        return answer(request)

    def unmask(self, agreements):
        return self._unmask(agreements)


def answers_for(federation, survivors, asked):
    """UNMASK replies of ``asked`` for one list of survivors."""
    context = federation.coordinator.record.context
    request = Envelope(Stage.AGREE, encode(SurvivorList(context, survivors)))
    signed = [federation.hospitals[name].agree(request) for name in asked]
    agreements = tuple(decode(reply.body, Agreement) for reply in signed)
    request = Envelope(Stage.UNMASK, encode(AgreementList(agreements)))
    return {name: federation.hospitals[name].unmask(request) for name in asked}


def attack(federation):
    terms = federation.terms
    victim, *others = terms.hospitals
    federation.exchange(federation.run_to(Stage.UPLOAD))
    upload = federation.replies[Stage.UPLOAD, victim]
    alive = answers_for(federation, terms.hospitals, others)
    dropped = answers_for(federation, tuple(others), others)
    seed = rebuild_secret(terms, alive, victim, "self_mask_shares")
    private = rebuild_secret(terms, dropped, victim, "mask_key_shares")
    keys = {
        name: decode(federation.replies[Stage.ADVERTISE, name].body, Advertisement).mask_key
        for name in terms.hospitals
    }
    context = context_of(upload)
    masks = [self_mask_of(victim, seed, context), *pair_masks_of(victim, private, keys, context)]
    return stripped(terms, upload, masks)


def test_a_second_list_of_survivors_is_refused():
    with pytest.raises(RuleBroken) as refused:
        attack(Federation(terms_for(5)))
    assert refused.value.code is RefusalCode.REPEATED_DIFFERENTLY


def test_control_a_hospital_that_answers_twice_gives_the_victim_away():
    federation = Federation(terms_for(5), hospital_class=AnswersTwice)
    victim = federation.terms.hospitals[0]
    np.testing.assert_array_equal(attack(federation), federation.values[victim])


def test_split_views_find_no_threshold():
    """Half of the hospitals see the victim alive, half dropped: 2t > n + c leaves neither list t."""
    federation = Federation(terms_for(5))
    _victim, *others = federation.terms.hospitals
    federation.exchange(federation.run_to(Stage.UPLOAD))
    with pytest.raises(RuleBroken) as first:
        answers_for(federation, federation.terms.hospitals, others[:2])
    assert first.value.code is RefusalCode.TOO_FEW_AGREEMENTS
    with pytest.raises(RuleBroken) as second:
        answers_for(federation, tuple(others), others[2:])
    assert second.value.code is RefusalCode.TOO_FEW_AGREEMENTS


def test_control_a_low_threshold_lets_split_views_open_the_victim(monkeypatch):
    monkeypatch.setattr("fedpriv.secagg.terms.RoundTerms.__post_init__", lambda _self: None)
    federation = Federation(terms_for(5, threshold=2, dropouts=3, smallest_cohort=2))
    victim, *others = federation.terms.hospitals
    federation.exchange(federation.run_to(Stage.UPLOAD))
    alive = answers_for(federation, federation.terms.hospitals, others[:2])
    dropped = answers_for(federation, tuple(others), others[2:])
    assert rebuild_secret(federation.terms, alive, victim, "self_mask_shares")
    assert rebuild_secret(federation.terms, dropped, victim, "mask_key_shares")
