"""A peer, or the coordinator for it, advertises an X25519 point of low order: the shared secret is zero."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support.federation import Federation, signing_key, terms_for

from fedpriv.secagg import key_agreement
from fedpriv.secagg.key_agreement import pair_mask
from fedpriv.secagg.messages import Advertisement, AdvertisementList, Envelope, Stage, decode, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

# https://cr.yp.to/ecdh.html#validate: 0, 1, the two points of order 8, p - 1, p, p + 1
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ec" + "ff" * 30 + "7f"),
    bytes.fromhex("ed" + "ff" * 30 + "7f"),
    bytes.fromhex("ee" + "ff" * 30 + "7f"),
]


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:6])
def test_a_low_order_point_gives_no_seed(point):
    with pytest.raises(RuleBroken) as refused:
        pair_mask(X25519PrivateKey.generate(), point, "a", "b", bytes(32))
    assert refused.value.code is RefusalCode.BAD_KEY


def altered(federation, field, point):
    """The list of advertisements with a low-order point in that of h0002, which signs it."""
    requests = federation.coordinator.open(federation.model)
    replies = {name: federation.answer(name, request) for name, request in requests.items()}
    entry = decode(replies["h0002"].body, Advertisement)
    parts = {known: getattr(entry, known) for known in entry.__struct_fields__}
    entry = Advertisement(**(parts | {field: point, "signature": b""})).sealed_by(signing_key("h0002"))
    honest = [decode(replies[name].body, Advertisement) for name in ("h0000", "h0001")]
    return entry, Envelope(Stage.SHARE, encode(AdvertisementList((*honest, entry))))


@pytest.mark.parametrize("field", ["channel_key", "mask_key"])
@pytest.mark.parametrize("high_bit", [0, 0x80])
@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:6])
def test_both_sides_refuse_to_see_one_advertised(field, point, high_bit):
    federation = Federation(terms_for(3))
    entry, listed = altered(federation, field, point[:31] + bytes([point[31] | high_bit]))
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].share(listed)
    with pytest.raises(RuleBroken) as dropped:
        federation.coordinator.receive("h0002", Envelope(Stage.ADVERTISE, encode(entry)))
    assert refused.value.code is dropped.value.code is RefusalCode.BAD_KEY


def test_control_without_the_check_everybody_can_compute_the_mask(monkeypatch):
    """Weakened: the zero secret is used, so the "shared" seed is a public constant of the round."""
    monkeypatch.setattr(key_agreement, "_exchange", lambda _private, _public: bytes(32))
    one = pair_mask(X25519PrivateKey.generate(), LOW_ORDER[0], "a", "b", bytes(32))
    two = pair_mask(X25519PrivateKey.generate(), LOW_ORDER[0], "a", "b", bytes(32))
    assert one.seed == two.seed
