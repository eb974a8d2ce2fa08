"""What a hospital's journal can hold: one kind of row for each thing that must not be forgotten.

    approve   an admin approved a study
    reserve   budget was charged, before any gradient was computed
    release   a masked vector left, paid for by the reservation of the same run and round
    refuse    the hospital said no
    sign      the digest of the one answer given at a stage of a round
    close     the coordinator's countersigned receipt of a round
    pin       an admin pinned a roster
    rekey     the hospital's signing key was exchanged: this row and all after it are signed by the new one

Rows stay at the hospital, but for those that its admin exports for an audit (`fedpriv.node.export`). ``run``
is 16 bytes, digests are 32 bytes (SHA-256).
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from fedpriv.dp.accounting import PrivacyEvent


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """Base of every row's content."""


class Approve(Event, frozen=True):
    """An admin approved the study with this digest."""

    study_name: str
    study_digest: bytes


class Reserve(Event, frozen=True):
    """``charge`` was added to what ``dataset`` has spent per ``unit`` ("image" or "patient").

    ``register`` is the SHA-256 of the register that says which images ``dataset`` stands for.
    """

    run: bytes
    round: int
    study_digest: bytes
    dataset: str
    unit: str
    charge: PrivacyEvent
    register: Annotated[bytes, Meta(min_length=32, max_length=32)]


class Release(Event, frozen=True):
    """The masked vector with this digest was handed over to be sent."""

    run: bytes
    round: int
    vector_digest: bytes


class Refuse(Event, frozen=True):
    """A request was refused; ``reason`` is for the admin and is never sent."""

    run: bytes
    round: int
    stage: int
    code: int
    reason: str


class Sign(Event, frozen=True):
    """The answer with this digest was given at ``stage``; there is never another."""

    run: bytes
    round: int
    stage: int
    answer_digest: bytes


class Close(Event, frozen=True):
    """The round ended; ``receipt`` is the coordinator's signed message as it came."""

    run: bytes
    round: int
    receipt: bytes


class Pin(Event, frozen=True):
    """The roster with this number and digest was pinned; no older one of its federation is taken again."""

    federation: str
    number: int
    roster_digest: bytes


class Rekey(Event, frozen=True):
    """``new_key`` took the place of ``old_key``, both raw Ed25519 public keys.

    ``consent`` is the old key's signature of it; empty where that key is lost.
    """

    old_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    new_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    consent: Annotated[bytes, Meta(max_length=64)]


AnyEvent: TypeAlias = Approve | Reserve | Release | Refuse | Sign | Close | Pin | Rekey
