"""What a hospital shows of its journal to the auditors of one run: that run's rows, and hashes of all others.

An export is one JSON object, signed by the hospital. Every row of the journal has its place in it, *open* or
*closed*: an open one is the row itself, a closed one the digest of its content. So the chain is followed from
the first row to the last, and every head that the hospital ever signed is found on it, while a closed row
tells nothing but that it is there: its digest has a random salt behind it that stays at the hospital.

    open     approvals and charges of the run's study; what was released, signed and closed in the run;
             which rosters were pinned, and where the signing key was exchanged
    closed   everything of other studies and runs; every refusal, since its reason is for the admin;
             every kind of event that is not named above

*Formal guarantee*: whoever holds the export, and not the journal, learns of a closed row only its position
(SHA-256 of 128 random bits and the row). The hospital cannot open a row otherwise than it was written. Of
images an open row holds one thing, the digest of their register, which has 256 random bits behind it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from fedpriv.errors import HomeError, JournalCorrupt
from fedpriv.identity.signing import BadSignature, sign, verify
from fedpriv.node.chain import (
    Row,
    content_digest,
    event_of,
    first_key,
    genesis,
    key_after,
    row_digest,
)
from fedpriv.node.events import Approve, Close, Pin, Rekey, Release, Reserve, Sign
from fedpriv.node.journal import stored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.identity.keys import Identity
    from fedpriv.node.chain import StoredRow
    from fedpriv.node.events import AnyEvent
    from fedpriv.node.home import NodeHome

_PURPOSE = b"journal export"
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9][a-zA-Z0-9-]{0,31}\Z")]
_Run = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Seconds = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class OpenRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="row", tag="open"):
    """A row as it was written: ``event`` is the very JSON that the chain binds."""

    unix_time_s: _Seconds
    salt: Annotated[bytes, msgspec.Meta(max_length=64)]
    event: msgspec.Raw


class ClosedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="row", tag="closed"):
    """A row of which only the place in the chain is shown."""

    content: _Digest


_Row: TypeAlias = OpenRow | ClosedRow


class JournalExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The journal of ``hospital``, opened for the 16-byte ``run``; ``signature`` is over all the rest."""

    hospital: _Name
    run: _Run
    rows: tuple[_Row, ...]
    signature: bytes = b""

    @property
    def closed(self) -> int:
        """How many rows are closed."""
        return sum(isinstance(row, ClosedRow) for row in self.rows)

    @property
    def statement(self) -> bytes:
        """What is signed: the export with an empty signature."""
        return msgspec.json.encode(msgspec.structs.replace(self, signature=b""))


@dataclass(frozen=True, slots=True)
class OpenedJournal:
    """An export that was verified: its open rows, the digests (32 bytes) of all, and how many are closed."""

    hospital: str
    run: bytes
    rows: tuple[Row, ...]
    heads: tuple[bytes, ...]
    closed: int


def export_for(home: NodeHome, run: bytes | None) -> bytes:
    """The signed export of a home's journal for ``run``, None for the last one; also while a node writes it.

    HomeError if there is no last one, JournalCorrupt if the journal does not verify.
    """
    rows = home.rows()
    chosen = _last_run(rows) if run is None else run
    if chosen is None:
        raise HomeError(f"the journal in {home.folder} knows of no answer to any run")
    return export_journal(list(stored_rows(home.folder))[: len(rows)], home.identity(), chosen)


def export_journal(stored_rows: Sequence[StoredRow], identity: Identity, run: bytes) -> bytes:
    """The signed export of a whole journal for ``run``; the same rows give the same bytes."""
    events = [event_of(stored.event, stored.sequence) for stored in stored_rows]
    studies = {event.study_digest for event in events if isinstance(event, Reserve) and event.run == run}
    rows: list[_Row] = [
        OpenRow(stored.unix_time_s, stored.salt, msgspec.Raw(stored.event))
        if _concerns(event, run, studies)
        else ClosedRow(content_digest(stored.salt, stored.unix_time_s, stored.event))
        for stored, event in zip(stored_rows, events, strict=True)
    ]
    export = JournalExport(identity.name, run, tuple(rows))
    return msgspec.json.encode(
        msgspec.structs.replace(export, signature=sign(identity.signing_key, _PURPOSE, export.statement))
    )


def parse_export(content: bytes, source: str) -> JournalExport:
    """The export that ``content`` is, not yet verified; HomeError if it is none."""
    try:
        export = msgspec.json.decode(content, type=JournalExport)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HomeError(
            f"{source}: no export of a journal: {error}", hint="`fedpriv node export` makes one"
        ) from error
    if msgspec.json.encode(export) != content:
        raise HomeError(f"{source}: it was edited: an export has one spelling, and this is another")
    return export


def open_export(export: JournalExport, *public_keys: bytes) -> OpenedJournal:
    """Follow the chain of ``export``, which the hospital must have signed by one of its ``public_keys``.

    JournalCorrupt otherwise, also if the chain does not end in that key. Whether it is the chain whose heads
    the hospital signed for others, only these can tell.
    """
    last = _signer_of(export, public_keys)
    opened = [bytes(shown.event) for shown in export.rows if isinstance(shown, OpenRow)]
    key = first_key(opened, last)
    head, rows, heads = genesis(key), [], []
    for sequence, shown in enumerate(export.rows, start=1):
        if isinstance(shown, ClosedRow):
            head = row_digest(head, sequence, shown.content)
        else:
            event = bytes(shown.event)
            key = key_after(event, key, head, sequence)
            head = row_digest(head, sequence, content_digest(shown.salt, shown.unix_time_s, event))
            rows.append(Row(sequence, shown.unix_time_s, event_of(event, sequence), head))
        heads.append(head)
    if key != last:
        raise JournalCorrupt(f"its export is signed by a key of {export.hospital} that it does not end in")
    return OpenedJournal(export.hospital, export.run, tuple(rows), tuple(heads), export.closed)


def _signer_of(export: JournalExport, public_keys: Sequence[bytes]) -> bytes:
    for key in public_keys:
        with contextlib.suppress(BadSignature):
            verify(key, _PURPOSE, export.statement, export.signature)
            return key
    raise JournalCorrupt(f"its export is not signed by {export.hospital}, or was changed")


def _last_run(rows: Sequence[Row]) -> bytes | None:
    return next((row.event.run for row in reversed(rows) if isinstance(row.event, Sign)), None)


def _concerns(event: AnyEvent, run: bytes, studies: set[bytes]) -> bool:
    """Whether auditors of ``run``, which charged ``studies`` (one, or none yet), are to see ``event``."""
    match event:
        case Approve() | Reserve():
            return event.study_digest in studies
        case Release() | Sign() | Close():
            return event.run == run
        case Pin() | Rekey():
            return True
        case _:
            return False
