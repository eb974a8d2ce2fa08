"""Which 32 bytes are a sound Ed25519 public key.

The library takes any 32 bytes for a public key. Under a key of small order one signature can verify for
many messages, so whoever enrols such a key could later deny or swap what it signed.

Formal guarantee: an accepted key is the canonical encoding (RFC 8032, 5.1.3) of a point whose order is
exactly the prime L: neither the neutral element, nor of small order, nor with a small-order component.
It works on public data only, so nothing here needs constant time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_L = 2**252 + 27742317777372353535851937790883648493

# Extended homogeneous coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z (RFC 8032, 5.1.4).
_Point: TypeAlias = tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


@lru_cache(maxsize=1024)  # the keys of a roster stand in every roster after it as well
def is_sound_public_key(raw: bytes) -> bool:
    """Whether ``raw`` encodes, canonically, a point of prime order."""
    point = _decode(raw)
    return point is not None and not _is_neutral(point) and _is_neutral(_multiply(_L, point))


def _decode(raw: bytes) -> _Point | None:
    """RFC 8032, 5.1.3, steps 1 to 4; None where the RFC says that decoding fails."""
    number = int.from_bytes(raw, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if len(raw) != 32 or y >= _P:  # noqa: PLR2004 - the length of an encoded point
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _SQRT_MINUS_ONE % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


def _multiply(scalar: int, point: _Point) -> _Point:
    result = _NEUTRAL
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _add(left: _Point, right: _Point) -> _Point:
    """The complete addition of RFC 8032, 5.1.4; right for doubling as well."""
    a = (left[1] - left[0]) * (right[1] - right[0])
    b = (left[1] + left[0]) * (right[1] + right[0])
    c = 2 * left[3] * right[3] * _D
    d = 2 * left[2] * right[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _is_neutral(point: _Point) -> bool:
    x, y, z, _ = point
    return x == 0 and y == z
