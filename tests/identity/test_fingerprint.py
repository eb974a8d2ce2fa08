import hashlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from mnemonic import Mnemonic

from fedpriv.identity.fingerprint import (
    WORDS,
    fingerprint,
    fingerprint_words,
    key_fingerprint,
    key_fingerprint_words,
    same_fingerprint,
)


def test_known_answer():
    assert fingerprint(bytes(32)) == "20785 33920 14682 35236 12004 26404 78176 78349"


@settings(max_examples=10, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_it_is_eight_groups_of_five_digits(digest):
    assert re.fullmatch(r"(\d{5} ){7}\d{5}", fingerprint(digest))


def test_words_are_the_same_132_bits_read_eleven_at_a_time():
    """By the definition: the list of BIP-39, the first bits of the same scrypt."""
    stretched = hashlib.scrypt(bytes(32), salt=b"fedpriv-fingerprint-v1", n=2**14, r=8, p=1, dklen=32)
    bits = f"{int.from_bytes(stretched, 'big'):0256b}"
    words = Mnemonic("english").wordlist
    expected = [words[int(bits[11 * place : 11 * place + 11], 2)] for place in range(12)]
    assert fingerprint_words(bytes(32)).split() == expected
    assert len(expected) == WORDS


def test_words_differ_in_their_first_four_letters():
    words = Mnemonic("english").wordlist
    assert len({word[:4] for word in words}) == len(words) == 2048


def test_words_or_digits_are_compared_as_people_type_them():
    digest = bytes(32)
    for text in (
        fingerprint(digest),
        fingerprint(digest).replace(" ", ""),
        fingerprint_words(digest),
        f"  {fingerprint_words(digest).title()} ",
    ):
        assert same_fingerprint(text, digest)
    first, second, *rest = fingerprint_words(digest).split()
    for text in (
        "",
        fingerprint(digest)[:-1],
        fingerprint(bytes(31) + b"\x01"),
        " ".join([second, first, *rest]),
        " ".join([first, second, *rest[:-1]]),
    ):
        assert not same_fingerprint(text, digest)


def test_leading_zeros_are_kept():
    digests = (index.to_bytes(32, "big") for index in range(200))
    assert next(text for text in map(fingerprint, digests) if text.startswith("0"))


def test_one_bit_changes_every_group():
    first, second = fingerprint(bytes(32)).split(), fingerprint(bytes(31) + b"\x01").split()
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_a_key_and_a_digest_of_the_same_bytes_have_different_fingerprints():
    assert key_fingerprint(bytes(32)) != fingerprint(bytes(32))
    assert key_fingerprint_words(bytes(32)) != fingerprint_words(bytes(32))
