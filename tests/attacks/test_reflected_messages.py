"""A hospital's own ciphertext, or a peer's to somebody else, handed back as if it were for it."""

import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg.key_agreement import Channel
from fedpriv.secagg.messages import (
    Addressed,
    Envelope,
    Mailbox,
    ShareDelivery,
    Stage,
    decode,
    encode,
)
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


def letter(federation, sender, recipient):
    delivery = decode(federation.replies[Stage.SHARE, sender].body, ShareDelivery)
    return next(entry.ciphertext for entry in delivery.ciphertexts if entry.name == recipient)


@pytest.mark.parametrize(
    ("sender", "recipient"), [("h0000", "h0001"), ("h0001", "h0002"), ("h0002", "h0000")]
)
def test_a_letter_of_another_path_does_not_open(sender, recipient):
    federation = Federation(terms_for(3))
    mailbox = decode(federation.run_to(Stage.UPLOAD)["h0000"].body, Mailbox)
    stolen = letter(federation, sender, recipient)
    with pytest.raises(RuleBroken) as refused:
        open_with(federation, mailbox, stolen)
    assert refused.value.code is RefusalCode.BAD_SHARE


def open_with(federation, mailbox, stolen):
    letters = tuple(
        Addressed(entry.name, stolen) if entry.name == "h0001" else entry for entry in mailbox.ciphertexts
    )
    request = Envelope(Stage.UPLOAD, encode(Mailbox(mailbox.commitments, letters)))
    return federation.hospitals["h0000"].upload(request, lambda: federation.values["h0000"])


def test_a_letter_with_one_bit_turned_does_not_open():
    federation = Federation(terms_for(3))
    mailbox = decode(federation.run_to(Stage.UPLOAD)["h0000"].body, Mailbox)
    original = letter(federation, "h0001", "h0000")
    with pytest.raises(RuleBroken) as refused:
        open_with(federation, mailbox, bytes([original[0] ^ 1]) + original[1:])
    assert refused.value.code is RefusalCode.BAD_SHARE


def test_control_a_channel_without_direction_opens_its_own_letter(monkeypatch):
    """Weakened: key and associated data do not name sender and recipient."""
    direction = Channel._direction
    monkeypatch.setattr(Channel, "_direction", lambda self, *names: direction(self, *sorted(names)))
    federation = Federation(terms_for(3))
    mailbox = decode(federation.run_to(Stage.UPLOAD)["h0000"].body, Mailbox)
    assert open_with(federation, mailbox, letter(federation, "h0000", "h0001"))


@pytest.mark.parametrize("change", ["missing", "extra", "swapped"])
def test_letters_must_be_exactly_those_of_the_peers(change):
    federation = Federation(terms_for(4))
    mailbox = decode(federation.run_to(Stage.UPLOAD)["h0000"].body, Mailbox)
    first, *rest = mailbox.ciphertexts
    letters = {
        "missing": tuple(rest),
        "extra": (Addressed("h0000", first.ciphertext), first, *rest),
        "swapped": (rest[0], first, *rest[1:]),
    }[change]
    request = Envelope(Stage.UPLOAD, encode(Mailbox(mailbox.commitments, letters)))
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].upload(request, lambda: federation.values["h0000"])
    assert refused.value.code is RefusalCode.WRONG_PEERS


def test_a_hospital_that_sends_in_the_name_of_another_is_out():
    federation = Federation(terms_for(3))
    requests = federation.coordinator.open(federation.model)
    reply = federation.answer("h0000", requests["h0000"])
    with pytest.raises(RuleBroken) as refused:
        federation.coordinator.receive("h0001", reply)
    assert refused.value.code is RefusalCode.UNKNOWN_HOSPITAL
