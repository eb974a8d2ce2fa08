import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.identity import edwards

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "ed25519-public-keys.json").read_text())


def encode(point):
    x, y, z, _ = point
    inverse = pow(z, -1, 2**255 - 19)
    x, y = x * inverse % (2**255 - 19), y * inverse % (2**255 - 19)
    return (y | (x & 1) << 255).to_bytes(32, "little")


@pytest.mark.parametrize("key", VECTORS["sound"])
def test_the_keys_of_rfc_8032_are_sound(key):
    assert edwards.is_sound_public_key(bytes.fromhex(key))


@pytest.mark.parametrize("name", VECTORS["unsound"])
def test_points_of_small_order_and_other_spellings_are_unsound(name):
    assert not edwards.is_sound_public_key(bytes.fromhex(VECTORS["unsound"][name]))


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_the_library_is_sound(seed):
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert edwards.is_sound_public_key(public)


@pytest.mark.parametrize("name", ["order 2", "order 4", "order 8"])
def test_a_sound_key_plus_a_point_of_small_order_is_unsound(name):
    sound = edwards._decode(bytes.fromhex(VECTORS["sound"][0]))
    small = edwards._decode(bytes.fromhex(VECTORS["unsound"][name]))
    mixed = encode(edwards._add(sound, small))
    assert edwards._decode(mixed) is not None
    assert not edwards.is_sound_public_key(mixed)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_decoding_and_encoding_are_inverse(seed):
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert encode(edwards._decode(public)) == public
