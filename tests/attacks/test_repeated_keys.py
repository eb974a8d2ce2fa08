"""One key under two names, in the roster or among the fresh ones: one hospital counted twice."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support.federation import Federation, public_key, signing_key, terms_for

from fedpriv.secagg import checks, key_agreement
from fedpriv.secagg.key_agreement import pair_mask
from fedpriv.secagg.messages import Advertisement, AdvertisementList, Envelope, Stage, decode, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


@pytest.fixture
def doubled():
    """A roster in which h0002 is h0001 again."""
    return {name: public_key("h0001" if name == "h0002" else name) for name in terms_for(3).hospitals}


def test_a_roster_with_a_repeated_key_is_refused(doubled):
    with pytest.raises(RuleBroken) as refused:
        Federation(terms_for(3)).hospital("h0000", roster=doubled)
    assert refused.value.code is RefusalCode.DUPLICATE_KEY


def sign_as_two(federation, doubled):
    """h0001 plays h0002 as well: it alone makes two of the three entries."""
    victim = federation.hospital("h0000", roster=doubled)
    requests = federation.coordinator.open(federation.model)
    own = decode(victim.advertise(requests["h0000"]).body, Advertisement)
    first = decode(federation.answer("h0001", requests["h0001"]).body, Advertisement)
    second = decode(federation.hospitals["h0002"].advertise(requests["h0002"]).body, Advertisement)
    parts = {field: getattr(second, field) for field in second.__struct_fields__} | {"signature": b""}
    second = Advertisement(**parts).sealed_by(signing_key("h0001"))
    return victim.share(Envelope(Stage.SHARE, encode(AdvertisementList((own, first, second)))))


def test_control_without_the_check_one_hospital_counts_as_two(monkeypatch, doubled):
    monkeypatch.setattr(checks, "roster", lambda *_: None)
    assert sign_as_two(Federation(terms_for(3)), doubled)


def test_the_check_stops_it(doubled):
    with pytest.raises(RuleBroken):
        sign_as_two(Federation(terms_for(3)), doubled)


@pytest.mark.parametrize(("field", "source"), [("mask_key", "mask_key"), ("channel_key", "mask_key")])
def test_a_fresh_key_that_appears_twice_is_refused_by_both_sides(field, source):
    """The last hospital copies a key of the first, so that its own mask would be another's."""
    federation = Federation(terms_for(3))
    requests = federation.coordinator.open(federation.model)
    replies = [federation.answer(name, request) for name, request in requests.items()]
    entries = [decode(reply.body, Advertisement) for reply in replies]
    copied = {known: getattr(entries[2], known) for known in entries[2].__struct_fields__}
    copied |= {field: getattr(entries[0], source), "signature": b""}
    entries[2] = Advertisement(**copied).sealed_by(signing_key("h0002"))
    for entry in entries[:2]:
        federation.coordinator.receive(entry.name, Envelope(Stage.ADVERTISE, encode(entry)))
    with pytest.raises(RuleBroken) as dropped:
        federation.coordinator.receive("h0002", Envelope(Stage.ADVERTISE, encode(entries[2])))
    listed = Envelope(Stage.SHARE, encode(AdvertisementList(tuple(entries))))
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0001"].share(listed)
    assert dropped.value.code is refused.value.code is RefusalCode.DUPLICATE_KEY


def other_spelling(federation):
    """h0002 advertises the mask key of h0000 with the bit set that X25519 does not read."""
    requests = federation.coordinator.open(federation.model)
    replies = [federation.answer(name, request) for name, request in requests.items()]
    entries = [decode(reply.body, Advertisement) for reply in replies]
    key = entries[0].mask_key
    twin = msgspec.structs.replace(entries[2], mask_key=key[:31] + bytes([key[31] | 0x80]))
    entries[2] = twin.sealed_by(signing_key("h0002"))
    return entries


def test_another_spelling_of_a_key_is_refused_by_both_sides():
    federation = Federation(terms_for(3))
    entries = other_spelling(federation)
    with pytest.raises(RuleBroken) as dropped:
        federation.coordinator.receive("h0002", Envelope(Stage.ADVERTISE, encode(entries[2])))
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0001"].share(Envelope(Stage.SHARE, encode(AdvertisementList(tuple(entries)))))
    assert dropped.value.code is refused.value.code is RefusalCode.BAD_KEY


def test_control_a_hospital_that_compares_bytes_takes_one_key_under_two_names(monkeypatch):
    monkeypatch.setattr(checks, "check_public_key", lambda _key: None)
    monkeypatch.setattr(key_agreement, "check_public_key", lambda _key: None)
    federation = Federation(terms_for(3))
    entries = other_spelling(federation)
    assert federation.hospitals["h0001"].share(
        Envelope(Stage.SHARE, encode(AdvertisementList(tuple(entries))))
    )
    mine, context = X25519PrivateKey.generate(), bytes(32)
    one, other = (pair_mask(mine, entries[i].mask_key, "a", "b", context) for i in (0, 2))
    assert one == other


@pytest.mark.parametrize("u", [9 + 2**255, 9 + 2**255 - 19, 2**256 - 1])
def test_a_key_that_is_not_canonical_is_no_key(u):
    with pytest.raises(RuleBroken):
        key_agreement.check_public_key(u.to_bytes(32, "little"))
    key_agreement.check_public_key((9).to_bytes(32, "little"))


@pytest.mark.parametrize("change", ["repeated", "unsorted"])
def test_a_hospital_listed_twice_is_refused(change):
    federation = Federation(terms_for(3))
    federation.exchange(federation.coordinator.open(federation.model))
    first, second, third = federation.coordinator.record.advertisements
    listed = {"repeated": (first, second, second, third), "unsorted": (second, first, third)}[change]
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].share(Envelope(Stage.SHARE, encode(AdvertisementList(listed))))
    assert refused.value.code is RefusalCode.DUPLICATE_HOSPITAL


def test_a_list_without_the_hospital_itself_is_refused():
    federation = Federation(terms_for(3))
    federation.exchange(federation.coordinator.open(federation.model))
    listed = AdvertisementList(federation.coordinator.record.advertisements[1:])
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].share(Envelope(Stage.SHARE, encode(listed)))
    assert refused.value.code is RefusalCode.OWN_ENTRY_CHANGED
