"""Random numbers that protect somebody: a fresh AES-128 counter keystream for every draw.

*Formal guarantee*: every generator has its own 128-bit key from the operating system, and there is no way to
choose it: two steps, rounds or hospitals never share one, and earlier output tells nothing of later output
unless AES is broken. Keys are not stored or printed; they go with the generator.

*Edge cases*: a forked process must ask for its own generator; nothing is kept between calls, so it does.

*Source*: Salmon et al. 2011 (counter-based generators, "ARS"); randomgen's ``AESCounter``, whose
keystream the tests compare with that of ``cryptography``.
"""

from __future__ import annotations

import secrets

from numpy.random import Generator
from randomgen import AESCounter

_KEY_BITS = 128


def fresh_generator() -> Generator:
    """A NumPy generator over a keystream that nobody else has."""
    return Generator(AESCounter(key=secrets.randbits(_KEY_BITS)))
