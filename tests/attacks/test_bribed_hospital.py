"""One hospital is bribed: it signs two lists of survivors and gives away all shares that it holds.

The coordinator shows a victim as alive to one half of the honest hospitals and as dropped to the other. The
bribed one completes both halves, so both kinds of shares of the victim come together.
"""

import msgspec
import numpy as np
import pytest
from support.attacker import context_of, pair_masks_of, rebuild_secret, self_mask_of, stripped
from support.federation import Federation, signing_key

from fedpriv.cli.study import draft
from fedpriv.errors import PolicyRefused
from fedpriv.node.policy import Policy, check_study
from fedpriv.secagg.messages import (
    Advertisement,
    Agreement,
    AgreementList,
    Envelope,
    HeldShare,
    Stage,
    SurvivorList,
    UnmaskShares,
    decode,
    encode,
)
from fedpriv.secagg.refusal import RuleBroken
from fedpriv.secagg.terms import survivors_digest
from fedpriv.study import parse_study


def drafted_terms(count, **changes):
    """The terms of a round of the study that ``fedpriv study new`` drafts for so many hospitals."""
    names = [f"h{number:04d}" for number in range(count)]
    study = parse_study(draft("x", dict.fromkeys(names, 100), ("a", "b")), "the draft")
    rules = msgspec.structs.replace(study.secure_aggregation, **changes)
    study = msgspec.structs.replace(study, secure_aggregation=rules)
    return study.round_terms(run=bytes(16), round_number=1, roster_digest=bytes(32), parameters=30)


def bribed_answer(federation, bribed, held, context):
    """Every share that the bribed hospital holds, of both kinds."""
    answer = UnmaskShares(
        name=bribed,
        context=context,
        self_mask_shares=tuple(HeldShare(owner, pair[0]) for owner, pair in held.items()),
        mask_key_shares=tuple(HeldShare(owner, pair[1]) for owner, pair in held.items()),
    )
    return Envelope(Stage.UNMASK, encode(answer.sealed_by(signing_key(bribed))))


def attack(terms):
    """What the coordinator makes of the victim's upload, and the victim's true values."""
    federation = Federation(terms)
    federation.exchange(federation.run_to(Stage.UPLOAD))
    victim, bribed, *others = terms.hospitals
    upload = federation.replies[Stage.UPLOAD, victim]
    context, held = context_of(upload), dict(federation.hospitals[bribed]._held)
    honest = [victim, *others]
    half = (len(honest) + 1) // 2
    answers = []
    for survivors, asked in (
        (terms.hospitals, honest[:half]),
        (tuple(name for name in terms.hospitals if name != victim), honest[half:]),
    ):
        request = Envelope(Stage.AGREE, encode(SurvivorList(context, survivors)))
        signed = [decode(federation.hospitals[name].agree(request).body, Agreement) for name in asked]
        forged = Agreement(name=bribed, context=context, survivors_digest=survivors_digest(survivors))
        signed.append(forged.sealed_by(signing_key(bribed)))
        signed.sort(key=lambda agreement: agreement.name)
        request = Envelope(Stage.UNMASK, encode(AgreementList(tuple(signed))))
        found = {name: federation.hospitals[name].unmask(request) for name in asked}
        answers.append(found | {bribed: bribed_answer(federation, bribed, held, context)})
    alive, dropped = answers
    keys = {
        name: decode(federation.replies[Stage.ADVERTISE, name].body, Advertisement).mask_key
        for name in terms.hospitals
    }
    seed = rebuild_secret(terms, alive, victim, "self_mask_shares")
    private = rebuild_secret(terms, dropped, victim, "mask_key_shares")
    masks = [self_mask_of(victim, seed, context), *pair_masks_of(victim, private, keys, context)]
    return stripped(terms, upload, masks), federation.values[victim]


@pytest.mark.parametrize("count", range(3, 10))
def test_a_drafted_study_withstands_one_bribed_hospital(count):
    with pytest.raises(RuleBroken):
        attack(drafted_terms(count))


@pytest.mark.parametrize("count", [3, 5, 7])
def test_control_a_study_that_tolerates_none_is_open_to_one(count):
    threshold = count // 2 + 1
    found, values = attack(drafted_terms(count, colluders=0, dropouts=1, smallest_cohort=max(threshold, 2)))
    np.testing.assert_array_equal(found, values)


def test_a_hospital_refuses_such_a_study_unless_its_admin_allows_it():
    text = draft("x", dict.fromkeys("ABCDE", 100), ("a", "b")).replace("colluders = 1 ", "colluders = 0 ")
    study = parse_study(text, "the draft")
    policy = Policy(smallest_cohort=2, largest_epsilon=8.0, largest_delta=1e-5)
    with pytest.raises(PolicyRefused, match="policy colluders is 1; the study tolerates 0 of 5 hospitals"):
        check_study(policy, study, "A")
    check_study(msgspec.structs.replace(policy, colluders=0), study, "A")
