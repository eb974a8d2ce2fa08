"""Masks: AES-256-CTR keystreams added to, or subtracted from, uint64 words modulo 2^64.

Each seed is used for one mask of one round, so the counter starts at zero. The whole 256-bit seed is
the cipher's key: nothing is folded. The keystream is read as uint64 little endian.

The outer loop goes over chunks of the accumulator and the inner one over masks, so that accumulator
and keystream stay in the second-level cache while all masks pass over them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

CHUNK_BYTES = 1 << 18

_AES_BLOCK_BYTES = 16
_WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class Mask:
    """A keystream and the sign with which it enters; ``seed`` is 32 secret bytes."""

    seed: bytes = field(repr=False)
    negative: bool = False

    def negated(self) -> Mask:
        """The mask that cancels this one."""
        return Mask(self.seed, not self.negative)


def add_masks(words: NDArray[np.uint64], masks: Iterable[Mask]) -> None:
    """Add every mask to ``words``, uint64 (w,), in place; memory beyond it is two chunks."""
    streams = [
        (Cipher(AES256(mask.seed), CTR(bytes(_AES_BLOCK_BYTES))).encryptor(), mask.negative) for mask in masks
    ]
    zeros = bytes(CHUNK_BYTES)
    keystream = bytearray(CHUNK_BYTES + _AES_BLOCK_BYTES)  # update_into asks for this much room
    for start in range(0, words.size, CHUNK_BYTES // _WORD_BYTES):
        chunk = words[start : start + CHUNK_BYTES // _WORD_BYTES]
        plaintext = memoryview(zeros)[: chunk.nbytes]
        mask_words = np.frombuffer(keystream, dtype="<u8", count=chunk.size)
        for stream, negative in streams:
            stream.update_into(plaintext, keystream)
            (np.subtract if negative else np.add)(chunk, mask_words, out=chunk)
