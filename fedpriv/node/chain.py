"""The rows of a journal as a chain: each is signed over everything before it.

    digest of row 0 = H("genesis" | public key)
    digest of row k = H(digest of row k - 1 | k | time | event)

and row k carries the hospital's Ed25519 signature of its digest. So an edited, inserted, moved or removed
row is found, and named, by anybody who has the public key; only rows missing at the end need a witness
outside: the head file and the coordinator's receipts.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fedpriv.errors import JournalCorrupt
from fedpriv.identity.signing import BadSignature, sign, verify
from fedpriv.node.events import AnyEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ROW_PURPOSE = b"journal row"
_GENESIS_LABEL = b"fedpriv-journal-genesis-v1"
_ROW_LABEL = b"fedpriv-journal-row-v1"
_DECODER = msgspec.json.Decoder(AnyEvent)


class StoredRow(NamedTuple):
    """A row as it lies in the database: ``event`` is JSON, ``signature`` 64 bytes."""

    sequence: int
    unix_time_s: int
    event: bytes
    signature: bytes


class Row(NamedTuple):
    """A row that was verified; ``digest`` (32 bytes) stands for it and for all rows before it."""

    sequence: int
    unix_time_s: int
    event: AnyEvent
    digest: bytes


def genesis(public_key: bytes) -> bytes:
    """The head (32 bytes) of the empty journal of the hospital with this Ed25519 key."""
    return hashlib.sha256(_GENESIS_LABEL + public_key).digest()


def seal(
    key: Ed25519PrivateKey, head: bytes, sequence: int, unix_time_s: int, event: AnyEvent
) -> tuple[StoredRow, Row]:
    """``event`` as the row that follows ``head``: what is stored, and what it means."""
    content = msgspec.json.encode(event)
    digest = _digest(head, sequence, unix_time_s, content)
    stored = StoredRow(sequence, unix_time_s, content, sign(key, _ROW_PURPOSE, digest))
    return stored, Row(sequence, unix_time_s, event, digest)


def verify_chain(stored_rows: Iterable[StoredRow], public_key: bytes) -> list[Row]:
    """The rows, if every one of them verifies; JournalCorrupt naming the first that does not, and why."""
    rows: list[Row] = []
    head = genesis(public_key)
    for expected, stored in enumerate(stored_rows, start=1):
        if stored.sequence != expected:
            raise JournalCorrupt(f"journal row {expected} is missing: row {stored.sequence} is in its place")
        digest = _digest(head, stored.sequence, stored.unix_time_s, stored.event)
        try:
            verify(public_key, _ROW_PURPOSE, digest, stored.signature)
        except BadSignature as error:
            raise JournalCorrupt(
                f"journal row {expected} was changed, or does not follow row {expected - 1}, "
                "or belongs to another identity: its signature does not verify"
            ) from error
        try:
            event = _DECODER.decode(stored.event)
        except msgspec.MsgspecError as error:
            raise JournalCorrupt(
                f"journal row {expected} is genuine but of no kind that this version knows",
                hint="a newer fedpriv wrote it; use that version",
            ) from error
        head = digest
        rows.append(Row(stored.sequence, stored.unix_time_s, event, digest))
    return rows


def _digest(head: bytes, sequence: int, unix_time_s: int, event: bytes) -> bytes:
    return hashlib.sha256(_ROW_LABEL + head + struct.pack("<Qq", sequence, unix_time_s) + event).digest()
