"""An independent, slow implementation of every primitive of the masked sum, from its standard's text.

Shares no code with fedpriv: Python integers, hashlib and hmac only.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import itertools
import operator
from fractions import Fraction

P25519 = 2**255 - 19
SHARE_PRIME = 2**257 - 93


def x25519(scalar: bytes, u: bytes) -> bytes:
    """RFC 7748 section 5: clamp, Montgomery ladder, invert."""
    k = int.from_bytes(scalar, "little")
    k = (k & ~7 & ((1 << 254) - 1)) | (1 << 254)
    x1 = int.from_bytes(u, "little") % 2**255
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = (k >> t) & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P25519, x1 * (da - cb) ** 2 % P25519
        x2, z2 = aa * bb % P25519, e * (aa + 121665 * e) % P25519
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P25519 - 2, P25519) % P25519).to_bytes(32, "little")


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """RFC 5869 with SHA-256."""
    key = hmac.new(salt, secret, hashlib.sha256).digest()
    output, block = b"", b""
    for counter in itertools.count(1):
        if len(output) >= length:
            return output[:length]
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    raise AssertionError


def _times(a: int, b: int) -> int:
    """Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _substitute(byte: int) -> int:
    """The S-box of FIPS 197 section 5.1.1: inverse, then the affine map."""
    inverse = next((x for x in range(256) if _times(byte, x) == 1), 0)
    rotations = (((inverse << r) | (inverse >> (8 - r))) & 0xFF for r in range(5))
    result = 0x63
    for rotated in rotations:
        result ^= rotated
    return result


SBOX = [_substitute(byte) for byte in range(256)]


def aes256(key: bytes, block: bytes) -> bytes:
    """FIPS 197, 14 rounds, the state as 16 bytes column by column."""
    words = [list(key[4 * i : 4 * i + 4]) for i in range(8)]
    constant = 1
    for i in range(8, 60):
        word = words[i - 1][:]
        if i % 8 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= constant
            constant = _times(constant, 2)
        elif i % 8 == 4:
            word = [SBOX[b] for b in word]
        words.append([a ^ b for a, b in zip(word, words[i - 8], strict=True)])
    keys = [functools.reduce(operator.iadd, words[4 * r : 4 * r + 4], []) for r in range(15)]
    state = [a ^ b for a, b in zip(block, keys[0], strict=True)]
    for r in range(1, 15):
        state = [SBOX[b] for b in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if r < 14:
            state = [
                _times(state[c + i], 2)
                ^ _times(state[c + (i + 1) % 4], 3)
                ^ state[c + (i + 2) % 4]
                ^ state[c + (i + 3) % 4]
                for c in range(0, 16, 4)
                for i in range(4)
            ]
        state = [a ^ b for a, b in zip(state, keys[r], strict=True)]
    return bytes(state)


def keystream(key: bytes, length: int, counter: int = 0) -> bytes:
    """AES-256 in counter mode, big-endian counter, SP 800-38A section 6.5."""
    blocks = -(-length // 16)
    return b"".join(aes256(key, (counter + i).to_bytes(16, "big")) for i in range(blocks))[:length]


def pair_seed(private: bytes, public: bytes, context: bytes, one: str, other: str) -> bytes:
    smaller, larger = min(one, other), max(one, other)
    return hkdf(x25519(private, public), context, f"fedpriv pair seed v1|{smaller}|{larger}".encode())


def self_seed(seed: bytes, name: str, context: bytes) -> bytes:
    return hkdf(seed, context, f"fedpriv self mask v1|{name}".encode())


def masked(words: list[int], seeds: list[tuple[bytes, int]]) -> list[int]:
    """Words plus or minus each keystream, modulo 2^64."""
    result = list(words)
    for seed, sign in seeds:
        stream = keystream(seed, 8 * len(words))
        for i in range(len(words)):
            result[i] = (result[i] + sign * int.from_bytes(stream[8 * i : 8 * i + 8], "little")) % 2**64
    return result


def share_values(coefficients: list[int], xs: list[int]) -> list[int]:
    return [sum(c * x**power for power, c in enumerate(coefficients)) % SHARE_PRIME for x in xs]


def secret_of(points: dict[int, int]) -> int:
    """Lagrange at 0 over the rationals, reduced into the field at the very end."""
    total = Fraction(0)
    for x, y in points.items():
        weight = Fraction(1)
        for other in points:
            if other != x:
                weight *= Fraction(other, other - x)
        total += weight * y
    return total.numerator * pow(total.denominator, SHARE_PRIME - 2, SHARE_PRIME) % SHARE_PRIME


def packed(values: list[int], lanes: int, lane_bits: int) -> list[int]:
    rows = itertools.zip_longest(*[iter(values)] * lanes, fillvalue=0)
    return [sum(value * 2 ** (lane_bits * lane) for lane, value in enumerate(row)) for row in rows]


def framed(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 over length-framed parts."""
    return hashlib.sha256(
        b"".join(len(part).to_bytes(8, "little") + part for part in (label, *parts))
    ).digest()


def array(tag: str, *fields: object) -> bytes:
    """The MessagePack of a tagged array, from the format's specification; short strings and binaries."""
    return bytes([0x90 | (1 + len(fields))]) + _item(tag) + b"".join(_item(field) for field in fields)


def _item(value: object) -> bytes:
    if isinstance(value, int):
        if value < 2**7:
            return bytes([value])
        width, prefix = next((w, p) for w, p in ((1, 0xCC), (2, 0xCD), (4, 0xCE)) if value < 2 ** (8 * w))
        return bytes([prefix]) + value.to_bytes(width, "big")
    if isinstance(value, str):
        text = value.encode()
        if len(text) > 31:
            raise ValueError("a long string")
        return bytes([0xA0 | len(text)]) + text
    if isinstance(value, bytes):
        return bytes([0xC4, len(value)]) + value
    raise TypeError(type(value))


def cohort(terms: dict, model: bytes, advertisements: list[tuple]) -> bytes:
    return framed(
        b"fedpriv cohort v1",
        terms["run"],
        terms["round"].to_bytes(8, "little"),
        terms["roster_digest"],
        terms["study_digest"],
        model,
        *(array("advertisement", *fields) for fields in advertisements),
    )


def context(cohort_digest: bytes, commitments: list[tuple]) -> bytes:
    return framed(
        b"fedpriv context v1", cohort_digest, *(array("commitment", *fields) for fields in commitments)
    )
