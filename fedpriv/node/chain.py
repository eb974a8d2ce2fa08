"""The rows of a journal as a chain: each is signed over everything before it.

    digest of row 0 = H("genesis" | public key)
    content of row k = H(salt | time | event)
    digest of row k = H(digest of row k - 1 | k | content of row k)

and row k carries the hospital's Ed25519 signature of its digest. So an edited, inserted, moved or removed
row is found, and named, by anybody who has the public key; only rows missing at the end need a witness
outside: the head file and the coordinator's receipts.

The salt is random and stays with its row. So whoever is given the content digest of a row in place of the row
can follow the chain and learns nothing, not even by trying events that are likely (`fedpriv.node.export`).
"""

from __future__ import annotations

import hashlib
import secrets
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
_CONTENT_LABEL = b"fedpriv-journal-content-v1"
_ROW_LABEL = b"fedpriv-journal-row-v2"
_SALT_BYTES = 16
_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


class StoredRow(NamedTuple):
    """A row as it lies in the database: ``event`` is JSON, ``salt`` 16 bytes, ``signature`` 64 bytes."""

    sequence: int
    unix_time_s: int
    event: bytes
    salt: bytes
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
    content, salt = msgspec.json.encode(event), secrets.token_bytes(_SALT_BYTES)
    digest = row_digest(head, sequence, content_digest(salt, unix_time_s, content))
    stored = StoredRow(sequence, unix_time_s, content, salt, sign(key, _ROW_PURPOSE, digest))
    return stored, Row(sequence, unix_time_s, event, digest)


def verify_chain(stored_rows: Iterable[StoredRow], public_key: bytes) -> list[Row]:
    """The rows, if every one of them verifies; JournalCorrupt naming the first that does not, and why."""
    rows: list[Row] = []
    head = genesis(public_key)
    for expected, stored in enumerate(stored_rows, start=1):
        if stored.sequence != expected:
            raise JournalCorrupt(f"journal row {expected} is missing: row {stored.sequence} is in its place")
        content = content_digest(stored.salt, stored.unix_time_s, stored.event)
        digest = row_digest(head, stored.sequence, content)
        try:
            verify(public_key, _ROW_PURPOSE, digest, stored.signature)
        except BadSignature as error:
            raise JournalCorrupt(
                f"journal row {expected} was changed, or does not follow row {expected - 1}, "
                "or belongs to another identity: its signature does not verify"
            ) from error
        rows.append(Row(stored.sequence, stored.unix_time_s, event_of(stored.event, expected), digest))
        head = digest
    return rows


def content_digest(salt: bytes, unix_time_s: int, event: bytes) -> bytes:
    """What the chain binds of a row (32 bytes): when it was written, and its event as JSON."""
    return hashlib.sha256(_CONTENT_LABEL + struct.pack("<Bq", len(salt), unix_time_s) + salt + event).digest()


def row_digest(head: bytes, sequence: int, content: bytes) -> bytes:
    """The head (32 bytes) after the row with this number and content digest, ``head`` being that before."""
    return hashlib.sha256(_ROW_LABEL + head + struct.pack("<Q", sequence) + content).digest()


def event_of(content: bytes, sequence: int) -> AnyEvent:
    """The event that ``content`` is, as JSON; JournalCorrupt if this version knows none like it."""
    try:
        return _DECODER.decode(content)
    except msgspec.MsgspecError as error:
        raise JournalCorrupt(
            f"journal row {sequence} is genuine but of no kind that this version knows",
            hint="a newer fedpriv wrote it; use that version",
        ) from error
