"""Values on the ring of 64-bit words: fixed point, lanes, headroom.

A hospital's value has ``bits`` bits. The sum of n of them needs at most

    lane_bits >= ceil(log2(n * (2^bits - 1) + 1))

bits, so several values ride in one uint64 word, each in its own lane, and adding words modulo 2^64
adds all lanes at once without a carry between them (16 bits: 3 lanes of 21 for n <= 32, 2 of 32
above). Masks cover whole words.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.secagg.refusal import RefusalCode, RuleBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WORD_BITS = 64
MIN_VALUE_BITS = 2
MAX_VALUE_BITS = 32

_PACKING_CHUNK = 1 << 14  # words packed at a time: 128 KiB, and up to four times that of values
_ROUNDING_CHUNK = 1 << 18  # values rounded at a time: 2 MiB of float64


@dataclass(frozen=True, slots=True)
class Layout:
    """``lanes`` values of ``bits`` bits in each word, ``lane_bits`` apart, the first one lowest."""

    bits: int
    lanes: int
    lane_bits: int

    def words(self, count: int) -> int:
        """How many words hold ``count`` values."""
        return -(-count // self.lanes)


def layout_for(bits: int, hospitals: int) -> Layout:
    """The densest layout in which the values of ``hospitals`` sum without a carry.

    Raises RuleBroken(UNSAFE_TERMS) for bits outside 2 to 32.
    """
    if not MIN_VALUE_BITS <= bits <= MAX_VALUE_BITS:
        raise RuleBroken(RefusalCode.UNSAFE_TERMS, f"values of {bits} bits")
    largest_sum = hospitals * (2**bits - 1)
    lanes = WORD_BITS // largest_sum.bit_length()
    return Layout(bits=bits, lanes=lanes, lane_bits=WORD_BITS // lanes)


def pack(values: NDArray[np.int64], layout: Layout) -> NDArray[np.uint64]:
    """Pack int64 (d,) values of [0, 2^bits) into uint64 words, shape (ceil(d / lanes),).

    Raises RuleBroken(UPDATE_UNUSABLE) if a value lies outside: it would spill into its neighbour.
    """
    if values.dtype != np.int64 or values.ndim != 1:
        raise RuleBroken(RefusalCode.UPDATE_UNUSABLE, "an update that is not a vector of int64")
    words = np.zeros(layout.words(values.size), dtype=np.uint64)
    for block, chunk in _blocks(values.view(np.uint64), words, layout):
        if block.max() >= 2**layout.bits:  # a negative value is huge here
            raise RuleBroken(RefusalCode.UPDATE_UNUSABLE, f"a value outside [0, 2^{layout.bits})")
        highest = block[layout.lanes - 1 :: layout.lanes]
        chunk[: highest.size] = highest  # the last word may have no value this high
        for lane in reversed(range(layout.lanes - 1)):
            column = block[lane :: layout.lanes]
            np.left_shift(chunk, np.uint64(layout.lane_bits), out=chunk)
            filled = chunk[: column.size]
            np.bitwise_or(filled, column, out=filled)
    return words


def unpack(words: NDArray[np.uint64], count: int, layout: Layout) -> NDArray[np.int64]:
    """The ``count`` lane values of uint64 ``words``, as int64 (count,)."""
    mask = np.uint64(2**layout.lane_bits - 1)
    values = np.empty(count, dtype=np.int64)
    for block, chunk in _blocks(values.view(np.uint64), words, layout):
        for lane in range(layout.lanes):
            column = block[lane :: layout.lanes]
            np.bitwise_and(chunk[: column.size] >> np.uint64(lane * layout.lane_bits), mask, out=column)
    return values


def check_sum(total: NDArray[np.int64], hospitals: int, bits: int) -> None:
    """Return only if ``total``, int64 (d,), can be the sum of ``hospitals`` values of ``bits`` bits each.

    Raises RuleBroken(UPDATE_UNUSABLE) otherwise: a hospital masked words that `pack` would not have made.
    """
    if not 0 <= total.min() <= total.max() <= hospitals * (2**bits - 1):
        raise RuleBroken(
            RefusalCode.UPDATE_UNUSABLE,
            f"no {hospitals} updates of {bits} bits have this sum: one of them was out of range",
        )


def quantise(
    update: NDArray[np.float32] | NDArray[np.float64], update_range: float, bits: int
) -> NDArray[np.int64]:
    """Fixed point with unbiased stochastic rounding: float (d,) in [-range, range] to int64 (d,).

    With h = 2^(bits-1) - 1, the value x becomes floor(x h / range) + h, one more with probability
    equal to the fraction cut off. Zero becomes exactly h. Arithmetic is float64: in float32 the
    fraction has too few bits and the rounding is biased above 16 bits. The coin is 32 bits of the
    operating system's generator for each value, so a probability is off by at most 2^-32.

    Raises RuleBroken(UPDATE_UNUSABLE) for NaN, infinity and anything out of range: never a silent clip.
    """
    largest = np.abs(update).max(initial=0.0)
    if not largest <= update_range:
        raise RuleBroken(RefusalCode.UPDATE_UNUSABLE, "an update that is not finite or is out of range")
    half = _zero(bits)
    values = np.empty(update.size, dtype=np.int64)
    for start in range(0, update.size, _ROUNDING_CHUNK):
        scaled = update[start : start + _ROUNDING_CHUNK].astype(np.float64) * (half / update_range)
        floor = np.floor(scaled)
        coins = np.frombuffer(os.urandom(4 * scaled.size), dtype=np.uint32)
        floor += coins < np.ldexp(scaled - floor, 32)
        np.clip(floor, -half, half, out=floor)  # range * h / range may exceed h by one float64 rounding
        values[start : start + scaled.size] = floor
        values[start : start + scaled.size] += half
    return values


def dequantise_sum(
    total: NDArray[np.int64], hospitals: int, update_range: float, bits: int
) -> NDArray[np.float64]:
    """The sum of ``hospitals`` quantised updates back in units of the update, float64 (d,)."""
    centred: NDArray[np.float64] = signed_sum(total, hospitals, bits).astype(np.float64)
    centred *= update_range / _zero(bits)
    return centred


def from_signed(integers: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Integers of [-h, h], h = 2^(bits-1) - 1, as ring values: int64 (d,), zero becomes h.

    Raises RuleBroken(UPDATE_UNUSABLE) for an integer outside: never a silent wrap.
    """
    half = _zero(bits)
    if integers.size and not -half <= integers.min() <= integers.max() <= half:
        raise RuleBroken(RefusalCode.UPDATE_UNUSABLE, f"an integer outside [-{half}, {half}]")
    return integers + half


def signed_sum(total: NDArray[np.int64], hospitals: int, bits: int) -> NDArray[np.int64]:
    """The sum of ``hospitals`` vectors that went through `from_signed` or `quantise`, int64 (d,)."""
    return total - hospitals * _zero(bits)


def _zero(bits: int) -> int:
    """The ring value of 0, in the middle of [0, 2^bits - 2]."""
    return (1 << (bits - 1)) - 1


def _blocks(
    values: NDArray[np.uint64], words: NDArray[np.uint64], layout: Layout
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Views of the values and of the words that hold them, small enough to stay in the cache."""
    for start in range(0, words.size, _PACKING_CHUNK):
        stop = start + _PACKING_CHUNK
        yield values[start * layout.lanes : stop * layout.lanes], words[start:stop]
