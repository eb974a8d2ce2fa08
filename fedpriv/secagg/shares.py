"""Shamir's secret sharing of 32-byte secrets over the prime field of p = 2^257 - 93.

Shamir 1979. The field is the smallest convenient one above 2^256: 2^255 - 19 cannot hold every
32-byte secret. Fewer than t shares are uniform and independent of the secret, since the t - 1 upper
coefficients are uniform in the field.

A holder's x is never on the wire: it is the holder's place, from 1, in the declared cohort.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from fedpriv.secagg.messages import SHARE_BYTES
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

if TYPE_CHECKING:
    from collections.abc import Sequence

PRIME = 2**257 - 93
SECRET_BYTES = 32


def split(secret: bytes, threshold: int, xs: Sequence[int]) -> list[bytes]:
    """Shares of a 32-byte ``secret``, one for each x, any ``threshold`` of which rebuild it."""
    _check_points(xs)
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(xs):
        raise RuleBroken(RefusalCode.BAD_SHARE, f"{threshold} of {len(xs)} shares of {len(secret)} bytes")
    coefficients = [int.from_bytes(secret, "big")]
    coefficients += [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    return [_evaluate(coefficients, x).to_bytes(SHARE_BYTES, "big") for x in xs]


def lagrange_weights(xs: Sequence[int]) -> list[int]:
    """The weights w_i with secret = sum of w_i * share_i mod p: prod over j != i of x_j / (x_j - x_i)."""
    _check_points(xs)
    weights = []
    for i, x in enumerate(xs):
        numerator = denominator = 1
        for j, other in enumerate(xs):
            if j != i:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - x) % PRIME
        weights.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return weights


def rebuild(shares: Sequence[bytes], weights: Sequence[int]) -> bytes:
    """The 32-byte secret of exactly ``threshold`` shares, whose xs gave ``weights``.

    A wrong share gives a wrong secret or RuleBroken(BAD_SHARE); compare with a commitment.
    """
    total = sum(weight * element(share) for weight, share in zip(weights, shares, strict=True)) % PRIME
    if total >> (8 * SECRET_BYTES):
        raise RuleBroken(RefusalCode.BAD_SHARE, "the shares are of no 32-byte secret")
    return total.to_bytes(SECRET_BYTES, "big")


def element(share: bytes) -> int:
    """The field element that ``share`` encodes, big endian; RuleBroken(BAD_SHARE) if it is none."""
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise RuleBroken(RefusalCode.BAD_SHARE, "a share outside the field")
    return value


def _evaluate(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % PRIME
    return value


def _check_points(xs: Sequence[int]) -> None:
    """A share at x = 0 would be the secret; two at one x make the weights undefined."""
    if len(set(xs)) != len(xs) or not all(0 < x < PRIME for x in xs):
        raise RuleBroken(RefusalCode.BAD_SHARE, "a share for x = 0 or two shares for one x")
