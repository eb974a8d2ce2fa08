"""Twelve words, or forty digits, that two people compare over the phone.

The one who makes a roster may be the attacker: it could search for two rosters with one fingerprint and hand
out both. 132 bits alone would leave 2^66 trials for such a collision; scrypt makes each trial cost 16 MiB
and some tens of milliseconds, some 2^20 plain hashes.

Words and digits come from the same 32 bytes and each of them stands for 132 bits, so comparing either is
enough. The words are those of BIP-39: no two begin with the same four letters.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from mnemonic import Mnemonic

GROUPS = 8
DIGITS_PER_GROUP = 5
WORDS = 12

_BITS_PER_WORD = 11
_LABEL = b"fedpriv-fingerprint-v1"


def fingerprint(digest: bytes) -> str:
    """The fingerprint of a 32-byte digest in digits: eight groups of five, 132 bits."""
    # 32 bytes for 133 bits: the remainder is uniform to 2^-123.
    digits = f"{_stretched(digest) % 10 ** (GROUPS * DIGITS_PER_GROUP):0{GROUPS * DIGITS_PER_GROUP}}"
    return " ".join(
        digits[start : start + DIGITS_PER_GROUP] for start in range(0, len(digits), DIGITS_PER_GROUP)
    )


def fingerprint_words(digest: bytes) -> str:
    """The fingerprint of the same digest in words: twelve of 2,048, 132 bits."""
    words, number = _words(), _stretched(digest) >> (256 - WORDS * _BITS_PER_WORD)
    places = range((WORDS - 1) * _BITS_PER_WORD, -1, -_BITS_PER_WORD)
    return " ".join(words[number >> place & (2**_BITS_PER_WORD - 1)] for place in places)


def same_fingerprint(text: str, digest: bytes) -> bool:
    """Whether ``text``, as somebody typed it, is the fingerprint of ``digest``, in words or in digits."""
    digits = "".join(text.split()) == "".join(fingerprint(digest).split())
    return digits or text.lower().split() == fingerprint_words(digest).split()


def key_digest(signing_key: bytes) -> bytes:
    """What the fingerprint of a raw Ed25519 public key is made of, 32 bytes."""
    return hashlib.sha256(b"fedpriv-signing-key-v1" + signing_key).digest()


def key_fingerprint(signing_key: bytes) -> str:
    """The fingerprint of a raw Ed25519 public key in digits, shown at enrolment and in the roster."""
    return fingerprint(key_digest(signing_key))


def key_fingerprint_words(signing_key: bytes) -> str:
    """The same in words."""
    return fingerprint_words(key_digest(signing_key))


@lru_cache(maxsize=64)
def _stretched(digest: bytes) -> int:
    return int.from_bytes(hashlib.scrypt(digest, salt=_LABEL, n=2**14, r=8, p=1, dklen=32), "big")


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    return tuple(Mnemonic("english").wordlist)
