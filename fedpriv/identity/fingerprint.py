"""Forty digits that two people compare over the phone.

The one who makes a roster may be the attacker: it could search for two rosters with one fingerprint and hand
out both. Forty digits alone would leave 2^66 trials for such a collision; scrypt makes each trial cost 16 MiB
and some tens of milliseconds, some 2^20 plain hashes.
"""

from __future__ import annotations

import hashlib

GROUPS = 8
DIGITS_PER_GROUP = 5

_LABEL = b"fedpriv-fingerprint-v1"


def fingerprint(digest: bytes) -> str:
    """The fingerprint of a 32-byte digest: eight groups of five digits, 132 bits."""
    # 32 bytes for 133 bits: the remainder is uniform to 2^-123.
    stretched = hashlib.scrypt(digest, salt=_LABEL, n=2**14, r=8, p=1, dklen=32)
    digits = (
        f"{int.from_bytes(stretched, 'big') % 10 ** (GROUPS * DIGITS_PER_GROUP):0{GROUPS * DIGITS_PER_GROUP}}"
    )
    return " ".join(
        digits[start : start + DIGITS_PER_GROUP] for start in range(0, len(digits), DIGITS_PER_GROUP)
    )


def key_fingerprint(signing_key: bytes) -> str:
    """The fingerprint of a raw Ed25519 public key, shown at enrolment and in the roster."""
    return fingerprint(hashlib.sha256(b"fedpriv-signing-key-v1" + signing_key).digest())
