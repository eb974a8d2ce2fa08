"""The rules that a hospital holds every request to; each function returns or raises RuleBroken.

All are pure functions of the message and of what the hospital knew before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.secagg.key_agreement import check_public_key
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.terms import RoundTerms, survivors_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fedpriv.secagg.messages import Advertisement, Agreement, Commitment, Invitation, SurvivorList


def roster(keys: Mapping[str, bytes], terms: RoundTerms) -> None:
    """Every declared hospital is on the roster, and no two members share a key."""
    if missing := set(terms.hospitals) - set(keys):
        raise RuleBroken(RefusalCode.UNKNOWN_HOSPITAL, f"not on the roster: {', '.join(sorted(missing))}")
    if len(set(keys.values())) != len(keys):
        raise RuleBroken(RefusalCode.DUPLICATE_KEY, "two members of the roster have the same key")


def invitation(received: Invitation | Advertisement, terms: RoundTerms) -> None:
    """The round is the one of the terms, under the same roster and study."""
    if (received.run, received.round) != (terms.run, terms.round):
        raise RuleBroken(RefusalCode.WRONG_RUN, f"round {received.round} of another run or round")
    if received.roster_digest != terms.roster_digest:
        raise RuleBroken(RefusalCode.WRONG_ROSTER, "another roster")
    if received.study_digest != terms.study_digest:
        raise RuleBroken(RefusalCode.WRONG_STUDY, "another study")


def own_entry(own: object, listed: Collection[object]) -> None:
    """What this hospital said is in the list, unchanged."""
    if own not in listed:
        raise RuleBroken(RefusalCode.OWN_ENTRY_CHANGED, "this hospital's own entry is missing or altered")


def advertisements(
    listed: Sequence[Advertisement], terms: RoundTerms, keys: Mapping[str, bytes], model: bytes
) -> None:
    """Declared hospitals, once each, enough of them; same round, study and model; distinct, signed keys."""
    _names([entry.name for entry in listed], terms.hospitals, terms.smallest_sum)
    public_keys = [key for entry in listed for key in (entry.channel_key, entry.mask_key)]
    if len(set(public_keys)) != len(public_keys):
        raise RuleBroken(RefusalCode.DUPLICATE_KEY, "one X25519 key was advertised twice")
    for entry in listed:
        advertisement(entry, terms, keys, model)


def advertisement(entry: Advertisement, terms: RoundTerms, keys: Mapping[str, bytes], model: bytes) -> None:
    """The same round, study and model, usable keys, under the hospital's own signature."""
    invitation(entry, terms)
    if entry.model_digest != model:
        raise RuleBroken(RefusalCode.WRONG_MODEL, f"{entry.name} was shown another model")
    check_public_key(entry.channel_key)
    check_public_key(entry.mask_key)
    entry.verify(keys[entry.name])


def commitments(
    listed: Sequence[Commitment],
    terms: RoundTerms,
    keys: Mapping[str, bytes],
    advertised: Collection[str],
    cohort: bytes,
) -> None:
    """Hospitals that advertised, once each, enough of them, all signed for the same cohort."""
    _names([entry.name for entry in listed], advertised, terms.smallest_sum)
    for entry in listed:
        commitment(entry, keys, cohort)


def commitment(entry: Commitment, keys: Mapping[str, bytes], cohort: bytes) -> None:
    """Made for this cohort, under the hospital's own signature."""
    if entry.cohort_digest != cohort:
        raise RuleBroken(RefusalCode.WRONG_CONTEXT, f"{entry.name} saw other advertisements")
    entry.verify(keys[entry.name])


def survivor_list(
    received: SurvivorList, own: str, terms: RoundTerms, context: bytes, participants: Collection[str]
) -> None:
    """Of this round; a subset of those masked for, once each, large enough, with this hospital in it."""
    if received.context != context:
        raise RuleBroken(RefusalCode.WRONG_CONTEXT, "a list of survivors of another view of the round")
    _names(received.names, participants, terms.smallest_sum)
    if own not in received.names:
        raise RuleBroken(RefusalCode.WRONG_PEERS, "this hospital's own update is not in the sum")


def agreements(
    listed: Sequence[Agreement],
    terms: RoundTerms,
    keys: Mapping[str, bytes],
    context: bytes,
    agreed: tuple[str, ...],
) -> None:
    """At least t survivors signed exactly the list that this hospital signed, in the same view."""
    names = [entry.name for entry in listed]
    _names(names, agreed, 0)
    if len(names) < terms.threshold:
        raise RuleBroken(
            RefusalCode.TOO_FEW_AGREEMENTS, f"{len(names)} agreements, threshold {terms.threshold}"
        )
    expected = survivors_digest(agreed)
    for entry in listed:
        agreement(entry, keys, context, expected)


def agreement(entry: Agreement, keys: Mapping[str, bytes], context: bytes, survivors: bytes) -> None:
    """For this view and this digest of survivors, under the hospital's own signature."""
    if entry.context != context or entry.survivors_digest != survivors:
        raise RuleBroken(RefusalCode.WRONG_CONTEXT, f"{entry.name} agreed to something else")
    entry.verify(keys[entry.name])


def _names(names: Sequence[str], allowed: Collection[str], at_least: int) -> None:
    """``names`` are sorted and distinct, all ``allowed``, and not too few."""
    if list(names) != sorted(set(names)):
        raise RuleBroken(RefusalCode.DUPLICATE_HOSPITAL, "hospitals repeated or not in order")
    if strangers := set(names) - set(allowed):
        raise RuleBroken(RefusalCode.UNKNOWN_HOSPITAL, f"unexpected: {', '.join(sorted(strangers))}")
    if len(names) < at_least:
        raise RuleBroken(
            RefusalCode.COHORT_TOO_SMALL, f"{len(names)} hospitals, at least {at_least} are needed"
        )
