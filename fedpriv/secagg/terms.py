"""The terms of a round: what each side takes from its own roster and study, never from the wire."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import msgspec

from fedpriv.secagg.messages import MAX_HOSPITALS, Addressed, Advertisement, Commitment, Message, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import Layout, layout_for

MIN_HOSPITALS = 2
MAX_PARAMETERS = 100_000_000


@dataclass(frozen=True, slots=True)
class RoundTerms:
    """What a hospital and the coordinator each hold to be true before a word is spoken.

    ``hospitals``: the declared cohort, sorted, of n names. ``threshold``: t, the shares that rebuild a
    secret and the agreements that open the sum. ``colluders``: c, the hospitals that may be in league
    with the coordinator. ``dropouts``: how many may be missing from the sum. ``smallest_cohort``: the
    stricter of the study's and of the hospital's own policy, so the two sides may differ in it.
    ``parameters``: d, the length of the model vector. ``bits``: each value is in [0, 2^bits).

    Raises RuleBroken(UNSAFE_TERMS) unless 2t > n + c and t <= n - dropouts (Bonawitz et al. 2017,
    section 6.2 with c colluders: two different lists of survivors can never both find t shares), unless two
    hospitals are left beside the colluders, unless the smallest cohort is there when all dropouts are
    gone, and unless n values fit a lane of the ring.
    """

    run: bytes
    round: int
    roster_digest: bytes
    study_digest: bytes
    hospitals: tuple[str, ...]
    threshold: int
    colluders: int
    dropouts: int
    smallest_cohort: int
    parameters: int
    bits: int = 16

    def __post_init__(self) -> None:
        n, t, c = len(self.hospitals), self.threshold, self.colluders
        if list(self.hospitals) != sorted(set(self.hospitals)) or not MIN_HOSPITALS <= n <= MAX_HOSPITALS:
            raise RuleBroken(RefusalCode.UNSAFE_TERMS, f"{n} hospitals, or not sorted, or not distinct")
        if c > n - 2:
            raise RuleBroken(
                RefusalCode.UNSAFE_TERMS,
                f"{c} colluders of {n} hospitals: the sum less their updates is one hospital's update",
            )
        if min(c, self.dropouts) < 0 or 2 * t <= n + c:
            raise RuleBroken(
                RefusalCode.UNSAFE_TERMS,
                f"threshold {t} of {n} hospitals with {c} colluders: 2 * {t} must exceed {n} + {c}",
            )
        if t > n - self.dropouts:
            raise RuleBroken(
                RefusalCode.UNSAFE_TERMS,
                f"threshold {t} of {n} hospitals leaves room for {n - t} dropouts, not {self.dropouts}",
            )
        if self.smallest_cohort > n - self.dropouts:
            raise RuleBroken(
                RefusalCode.UNSAFE_TERMS,
                f"smallest cohort {self.smallest_cohort}, but {self.dropouts} of {n} hospitals may drop out",
            )
        if not 1 <= self.parameters <= MAX_PARAMETERS:
            raise RuleBroken(RefusalCode.UNSAFE_TERMS, f"{self.parameters} parameters")
        layout_for(self.bits, n)

    @property
    def smallest_sum(self) -> int:
        """The fewest hospitals whose sum may be opened.

        Never fewer than the threshold and the smallest cohort, and enough for the noise: shares of
        distributed noise are sized for at most ``dropouts`` missing hospitals.
        """
        return len(self.hospitals) - self.dropouts

    @property
    def layout(self) -> Layout:
        """How ``parameters`` values lie in 64-bit words."""
        return layout_for(self.bits, len(self.hospitals))

    @property
    def words(self) -> int:
        """The length of a masked vector in 64-bit words."""
        return self.layout.words(self.parameters)


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 of ``label`` and ``parts``, each preceded by its length as uint64 little endian."""
    state = hashlib.sha256()
    for part in (label, *parts):
        state.update(struct.pack("<Q", len(part)))
        state.update(part)
    return state.digest()


def model_digest(vector: bytes) -> bytes:
    """The hash of a model: its weights as one float32 little-endian vector."""
    return digest(b"fedpriv model v1", vector)


def vector_digest(vector: bytes) -> bytes:
    """The hash of a masked vector, uint64 little endian."""
    return digest(b"fedpriv masked vector v1", vector)


def message_digest(message: Message) -> bytes:
    """The hash of a whole message, signature included."""
    return digest(b"fedpriv message v1", encode(message))


def survivors_digest(survivors: tuple[str, ...]) -> bytes:
    """The hash of a list of survivors, in the order given (always sorted)."""
    return digest(b"fedpriv survivors v1", msgspec.msgpack.encode(survivors))


def cohort_digest(terms: RoundTerms, model: bytes, advertisements: tuple[Advertisement, ...]) -> bytes:
    """The hash of everything up to the end of ADVERTISE: the round, the model, all advertised keys."""
    return digest(
        b"fedpriv cohort v1",
        terms.run,
        struct.pack("<Q", terms.round),
        terms.roster_digest,
        terms.study_digest,
        model,
        *(encode(advertisement) for advertisement in advertisements),
    )


def context_digest(cohort: bytes, commitments: tuple[Commitment, ...]) -> bytes:
    """The hash of everything up to the end of SHARE; the salt of every mask of the round.

    Two hospitals that were shown anything different, be it a model, a study, a cohort or a round,
    hold different contexts, so their masks do not cancel.
    """
    return digest(b"fedpriv context v1", cohort, *(encode(commitment) for commitment in commitments))


def self_mask_digest(seed: bytes, name: str, cohort: bytes) -> bytes:
    """The commitment to a self-mask seed; 32 uniform bytes need no further blinding."""
    return digest(b"fedpriv self mask seed v1", seed, name.encode(), cohort)


def ciphertexts_digest(ciphertexts: tuple[Addressed, ...]) -> bytes:
    """The commitment of a sender to all its ciphertexts."""
    return digest(b"fedpriv ciphertexts v1", *(encode(ciphertext) for ciphertext in ciphertexts))
