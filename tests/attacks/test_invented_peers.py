"""The coordinator replaces the victim's peers by keys of its own, and so knows every pair mask."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support.attacker import context_of, self_mask_of, stripped
from support.federation import Federation, signing_key, terms_for

from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.key_agreement import Channel, pair_mask
from fedpriv.secagg.messages import (
    Addressed,
    Advertisement,
    AdvertisementList,
    Commitment,
    Envelope,
    Mailbox,
    Message,
    ShareDelivery,
    Signed,
    Stage,
    decode,
    encode,
)
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.shares import lagrange_weights, rebuild
from fedpriv.secagg.terms import cohort_digest


def attack(federation, impostors: tuple[str, ...]):
    """Play every peer of the victim; open its update alone."""
    terms = federation.terms
    victim = federation.hospitals[terms.hospitals[0]]
    invitation = federation.coordinator.open(federation.model)[victim.name]
    real = decode(victim.advertise(invitation).body, Advertisement)
    channel = {name: X25519PrivateKey.generate() for name in impostors}
    mask = {name: X25519PrivateKey.generate() for name in impostors}
    forger = Ed25519PrivateKey.generate()
    fakes = [
        Advertisement(
            **{field: getattr(real, field) for field in real.__struct_fields__}
            | {
                "name": name,
                "channel_key": channel[name].public_key().public_bytes_raw(),
                "mask_key": mask[name].public_key().public_bytes_raw(),
            }
        ).sealed_by(forger)
        for name in impostors
    ]
    listed = tuple(sorted([real, *fakes], key=lambda entry: entry.name))
    delivery = decode(victim.share(envelope(Stage.SHARE, AdvertisementList(listed))).body, ShareDelivery)

    cohort = cohort_digest(terms, real.model_digest, listed)
    channels = {
        name: Channel(key, real.channel_key, own=name, peer=victim.name, terms=terms, cohort=cohort)
        for name, key in channel.items()
    }
    stolen = {
        letter.name: channels[letter.name].open(letter.ciphertext)[:33] for letter in delivery.ciphertexts
    }
    commitments = [
        Commitment(name=name, cohort_digest=cohort, self_mask_digest=b"0" * 32, ciphertexts_digest=b"0" * 32)
        for name in impostors
    ]
    commitments = [entry.sealed_by(forger) for entry in commitments] + [delivery.commitment]
    mailbox = Mailbox(
        tuple(sorted(commitments, key=lambda entry: entry.name)),
        tuple(Addressed(name, channels[name].seal(bytes(66))) for name in impostors),
    )
    upload = victim.upload(envelope(Stage.UPLOAD, mailbox), lambda: federation.values[victim.name])

    context = context_of(upload)
    known = dict(list(stolen.items())[: terms.threshold])
    places = {name: index + 1 for index, name in enumerate(terms.hospitals)}
    seed = rebuild(list(known.values()), lagrange_weights([places[name] for name in known]))
    pairs = [
        pair_mask(key, real.mask_key, name, victim.name, context).negated() for name, key in mask.items()
    ]
    return stripped(terms, upload, [self_mask_of(victim.name, seed, context), *pairs])


def envelope(stage: Stage, message: Message) -> Envelope:
    return Envelope(stage, encode(message))


def test_substituted_keys_are_refused():
    federation = Federation(terms_for(4))
    with pytest.raises(RuleBroken) as refused:
        attack(federation, federation.terms.hospitals[1:])
    assert refused.value.code is RefusalCode.BAD_SIGNATURE


def test_invented_names_are_refused():
    with pytest.raises(RuleBroken) as refused:
        attack(Federation(terms_for(4)), ("sybil-1", "sybil-2", "sybil-3"))
    assert refused.value.code is RefusalCode.UNKNOWN_HOSPITAL


def test_control_unsigned_keys_give_the_victim_away(monkeypatch):
    monkeypatch.setattr(Signed, "verify", lambda *_: None)
    federation = Federation(terms_for(4))
    victim, *peers = federation.terms.hospitals
    np.testing.assert_array_equal(attack(federation, tuple(peers)), federation.values[victim])


def test_a_hospital_with_another_key_than_the_rosters_does_not_start():
    federation = Federation(terms_for(4))
    with pytest.raises(RuleBroken) as refused:
        HospitalRound(
            name="h0000",
            signing_key=signing_key("somebody else"),
            roster=federation.roster,
            coordinator_key=bytes(32),
            terms=federation.terms,
            journal_head=bytes(32),
            last_round=0,
        )
    assert refused.value.code is RefusalCode.UNKNOWN_HOSPITAL
