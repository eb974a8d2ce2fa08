"""One encoding of each message, and no other."""

import msgspec
import pytest
from support.federation import public_key, signing_key

from fedpriv.secagg import messages
from fedpriv.secagg.messages import (
    Advertisement,
    Envelope,
    Invitation,
    MaskedUpdate,
    Refusal,
    Stage,
    SurvivorList,
    decode,
    encode,
    refusal,
    refusal_in,
)
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

CONTEXT = b"c" * 32
INVITATION = Invitation(b"r" * 16, 1, b"R" * 32, b"S" * 32)


def refused(body, kind=Invitation):
    with pytest.raises(RuleBroken) as error:
        decode(body, kind)
    assert error.value.code is RefusalCode.MALFORMED


def tree(**changes):
    fields = {"tag": "invitation", "run": b"r" * 16, "round": 1, "roster": b"R" * 32, "study": b"S" * 32}
    return msgspec.msgpack.encode(list((fields | {"heads": []} | changes).values()))


def test_a_message_survives_the_wire():
    assert decode(encode(INVITATION), Invitation) == INVITATION
    assert encode(INVITATION) == tree()


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": "advertisement"},
        {"tag": 1},
        {"run": b"r" * 15},
        {"run": b"r" * 17},
        {"run": "r" * 16},
        {"round": 0},
        {"round": 2**32},
        {"round": 1.0},
        {"round": "1"},
        {"round": True},
        {"roster": None},
        {"study": b""},
        {"heads": [1]},
        {"heads": [["journal-head", "A", b"h" * 31]]},
        {"more": 1},
    ],
    ids=str,
)
def test_wrong_fields_are_refused(changes):
    refused(tree(**changes))


def test_missing_fields_are_refused():
    refused(msgspec.msgpack.encode(["invitation", b"r" * 16, 1]))
    refused(b"")


def test_a_map_instead_of_an_array_is_refused():
    refused(msgspec.msgpack.encode({"type": "invitation", "run": b"r" * 16}))


@pytest.mark.parametrize(
    ("short", "long"),
    [(b"\x96", b"\xdc\x00\x06"), (b"\xc4\x10", b"\xc5\x00\x10"), (b"\x01\xc4\x20R", b"\xcc\x01\xc4\x20R")],
    ids=["array header", "binary header", "integer"],
)
def test_longer_encodings_of_the_same_values_are_refused(short, long):
    body = encode(INVITATION)
    assert body.count(short) >= 1
    refused(body.replace(short, long, 1))


def test_trailing_bytes_are_refused():
    refused(encode(INVITATION) + b"\x00")


def test_a_signed_message_without_its_signature_is_refused():
    update = MaskedUpdate(name="h0000", context=b"c" * 32, vector_digest=b"v" * 32)
    refused(encode(update), MaskedUpdate)
    fields = msgspec.msgpack.decode(encode(update))[:-1]
    refused(msgspec.msgpack.encode(fields), MaskedUpdate)


@pytest.mark.parametrize("name", ["", "-a", "a" * 33, "a b", "a\n", "ä", "a_b", "../a"])
def test_names_outside_the_rosters_alphabet_are_refused(name):
    refused(msgspec.msgpack.encode(["survivors", CONTEXT, [name]]), SurvivorList)


@pytest.mark.parametrize("name", ["a", "A1", "0-hospital", "a" * 32])
def test_names_inside_are_taken(name):
    assert decode(encode(SurvivorList(CONTEXT, (name,))), SurvivorList).names == (name,)


def test_too_many_entries_are_refused():
    names = [f"h{i}" for i in range(messages.MAX_HOSPITALS + 1)]
    refused(msgspec.msgpack.encode(["survivors", CONTEXT, names]), SurvivorList)
    assert decode(msgspec.msgpack.encode(["survivors", CONTEXT, names[:-1]]), SurvivorList)


def test_a_body_above_the_limit_is_refused_unread():
    refused(b"\x95" * (messages.MAX_BODY_BYTES + 1))


def test_the_largest_honest_body_fits():
    entry = Advertisement("n" * 32, b"r" * 16, 2**32 - 1, *[b"x" * 32] * 6, signature=b"s" * 64)
    body = encode(messages.AdvertisementList((entry,) * messages.MAX_HOSPITALS))
    assert len(body) <= messages.MAX_BODY_BYTES


def test_deep_nesting_is_refused():
    refused(b"\x91" * 100_000)


def test_a_signature_covers_every_field_and_its_purpose():
    update = MaskedUpdate(name="h0000", context=b"c" * 32, vector_digest=b"v" * 32)
    sealed = update.sealed_by(signing_key("h0000"))
    sealed.verify(public_key("h0000"))
    agreement = messages.Agreement("h0000", b"c" * 32, b"v" * 32, signature=sealed.signature)
    for other in (
        agreement,
        msgspec.structs.replace(sealed, name="h0001"),
        msgspec.structs.replace(sealed, context=b"d" * 32),
        msgspec.structs.replace(sealed, signature=bytes(64)),
    ):
        with pytest.raises(RuleBroken) as error:
            other.verify(public_key("h0000"))
        assert error.value.code is RefusalCode.BAD_SIGNATURE


@pytest.mark.parametrize("code", RefusalCode, ids=lambda code: code.name)
def test_every_refusal_is_recognised(code):
    envelope = refusal(Stage.SHARE, code)
    assert envelope == Envelope(Stage.SHARE, encode(Refusal(code)))
    assert refusal_in(envelope.body) is code
    assert len(envelope.body) < 16


def test_other_bodies_are_no_refusals():
    assert refusal_in(encode(INVITATION)) is None
    assert refusal_in(b"") is None
    refused(msgspec.msgpack.encode(["refusal", 999]), Refusal)
    refused(msgspec.msgpack.encode(["refusal", 1, "why"]), Refusal)


def test_an_envelope_does_not_print_its_vector():
    assert "secret" not in repr(Envelope(Stage.UPLOAD, b"", b"secret"))
