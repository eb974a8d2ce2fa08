"""The rows of a journal as a chain: each is signed over everything before it.

    digest of row 0 = H("genesis" | public key)
    content of row k = H(salt | time | event)
    digest of row k = H(digest of row k - 1 | k | content of row k)

and row k carries the hospital's Ed25519 signature of its digest. So an edited, inserted, moved or removed
row is found, and named, by anybody who has the public key; only rows missing at the end need a witness
outside: the head file and the coordinator's receipts.

One chain goes on when the key is exchanged. The row that says so is signed by the new key, which so vouches
for all before it, and holds the old key's consent, unless that key was lost. Rows before it verify with the
old key; the first one of all stands in row 0. So new keys are no new budget.

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
from fedpriv.node.events import AnyEvent, Rekey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ROW_PURPOSE = b"journal row"
_REKEY_PURPOSE = b"journal rekey"
_REKEY_START = b'{"kind":"rekey"'
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


def rekey(head: bytes, new_key: bytes, old_key: bytes, old_private: Ed25519PrivateKey | None) -> Rekey:
    """That ``new_key`` signs from ``head`` on; ``old_private`` is None if the old key was lost."""
    consent = sign(old_private, _REKEY_PURPOSE, head + new_key) if old_private is not None else b""
    return Rekey(old_key, new_key, consent)


def first_key(events: Iterable[bytes], public_key: bytes) -> bytes:
    """The key that began the chain of these events (JSON, oldest first), which ends in ``public_key``."""
    return next((found.old_key for found in map(_rekey_in, events) if found is not None), public_key)


def last_change(events: Iterable[bytes]) -> bytes | None:
    """The key that the chain of these events (JSON, oldest first) was last changed to; None if never."""
    found: bytes | None = None
    for event in events:
        change = _rekey_in(event)
        found = change.new_key if change is not None else found
    return found


def key_after(content: bytes, key: bytes, head: bytes, sequence: int) -> bytes:
    """The key that signs the row with this event (JSON), where ``key`` signed those up to ``head``.

    JournalCorrupt if a change of keys is none of this chain.
    """
    event = _rekey_in(content)
    if event is None:
        return key
    if event.old_key != key:
        raise JournalCorrupt(f"journal row {sequence} changes another key than the one in use")
    if event.consent:
        try:
            verify(key, _REKEY_PURPOSE, head + event.new_key, event.consent)
        except BadSignature as error:
            raise JournalCorrupt(
                f"journal row {sequence}: the old key did not agree to the new one"
            ) from error
    return event.new_key


def verify_chain(stored_rows: Iterable[StoredRow], public_key: bytes) -> list[Row]:
    """The rows, if every one of them verifies; JournalCorrupt naming the first that does not, and why.

    ``public_key`` is the one in use at the end.
    """
    given: Sequence[StoredRow] = list(stored_rows)
    rows: list[Row] = []
    key = first_key((stored.event for stored in given), public_key)
    head = genesis(key)
    for expected, stored in enumerate(given, start=1):
        if stored.sequence != expected:
            raise JournalCorrupt(f"journal row {expected} is missing: row {stored.sequence} is in its place")
        content = content_digest(stored.salt, stored.unix_time_s, stored.event)
        digest = row_digest(head, stored.sequence, content)
        key = key_after(stored.event, key, head, expected)
        try:
            verify(key, _ROW_PURPOSE, digest, stored.signature)
        except BadSignature as error:
            raise JournalCorrupt(
                f"journal row {expected} was changed, or does not follow row {expected - 1}, "
                "or belongs to another identity: its signature does not verify"
            ) from error
        rows.append(Row(stored.sequence, stored.unix_time_s, event_of(stored.event, expected), digest))
        head = digest
    if key != public_key:
        raise JournalCorrupt(
            f"journal row {len(rows)} and those before it end in another signing key than the one given",
            hint="if keys were exchanged, pin the roster of the new ones: `fedpriv keys roster FILE --pin`",
        )
    return rows


def _rekey_in(content: bytes) -> Rekey | None:
    """The change of keys that ``content`` is, None if it is anything else."""
    if not content.startswith(_REKEY_START):
        return None
    try:
        event = _DECODER.decode(content)
    except msgspec.MsgspecError:
        return None
    return event if isinstance(event, Rekey) else None


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
