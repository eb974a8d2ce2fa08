import re

from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.identity.fingerprint import fingerprint, key_fingerprint


def test_known_answer():
    assert fingerprint(bytes(32)) == "20785 33920 14682 35236 12004 26404 78176 78349"


@settings(max_examples=10, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_it_is_eight_groups_of_five_digits(digest):
    assert re.fullmatch(r"(\d{5} ){7}\d{5}", fingerprint(digest))


def test_leading_zeros_are_kept():
    digests = (index.to_bytes(32, "big") for index in range(200))
    assert next(text for text in map(fingerprint, digests) if text.startswith("0"))


def test_one_bit_changes_every_group():
    first, second = fingerprint(bytes(32)).split(), fingerprint(bytes(31) + b"\x01").split()
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_a_key_and_a_digest_of_the_same_bytes_have_different_fingerprints():
    assert key_fingerprint(bytes(32)) != fingerprint(bytes(32))
