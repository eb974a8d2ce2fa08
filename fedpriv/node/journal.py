"""A hospital's append-only record: what it approved, spent, sent, refused and signed.

On disk: ``journal.sqlite`` (WAL, synchronous=FULL), ``journal.head`` and ``journal.lock``. A row is on the
disk before the call that made it returns. The head file names the last row outside of the database, so a
deleted last row or an old copy of the database is found; an old copy of both is found when the
coordinator next names the head that it was told last (`Journal.had`), and by auditors through receipts.

Two of the protocol's promises live here because only here they outlive a crash: the round number of a run
only grows, and at each stage of a round at most one answer is ever given.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Self

import msgspec

from fedpriv import file_lock
from fedpriv.errors import HomeError, JournalCorrupt
from fedpriv.identity.private_files import sync_folder
from fedpriv.node.chain import Row, StoredRow, genesis, last_change, rekey, seal, verify_chain
from fedpriv.node.events import AnyEvent, Rekey, Sign
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedpriv.identity.keys import Identity

DATABASE_FILE = "journal.sqlite"
HEAD_FILE = "journal.head"
LOCK_FILE = "journal.lock"

_SCHEMA = """
CREATE TABLE rows (
    sequence    INTEGER PRIMARY KEY,
    unix_time_s INTEGER NOT NULL,
    event       BLOB NOT NULL,
    salt        BLOB NOT NULL,
    signature   BLOB NOT NULL
) STRICT;
-- Guards against accidents; whoever drops them is found out by the chain.
CREATE TRIGGER rows_are_never_updated BEFORE UPDATE ON rows
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER rows_are_never_deleted BEFORE DELETE ON rows
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
"""
_SELECT = "SELECT sequence, unix_time_s, event, salt, signature FROM rows ORDER BY sequence"
_INSERT = "INSERT INTO rows VALUES (?, ?, ?, ?, ?)"


class Journal:
    """The one writer of a journal; safe to use from several threads of its process."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        """Open the journal in ``folder``, or begin it, and verify it.

        HomeError if another process writes it, JournalCorrupt if it does not verify.
        """
        self._folder = folder
        self._identity = identity
        self._thread_lock = threading.RLock()
        with contextlib.ExitStack() as undo:
            self._lock_descriptor = _lock(folder)
            undo.callback(os.close, self._lock_descriptor)
            _begin_if_new(folder, identity.signing_public_key)
            rows = read_journal(folder, identity.signing_public_key)
            self._genesis = genesis(_first_key_of(rows, identity.signing_public_key))
            self._connection = sqlite3.connect(
                folder / DATABASE_FILE, isolation_level=None, check_same_thread=False
            )
            undo.callback(self._connection.close)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._rows: list[Row] = []
            self._answers: dict[tuple[bytes, int, int], bytes] = {}
            self._last_rounds: dict[bytes, int] = {}
            for row in rows:
                self._remember(row)
            _write_head(folder, len(rows), self.head)
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process write."""
        with self._thread_lock:
            self._connection.close()
            os.close(self._lock_descriptor)

    @property
    def head(self) -> bytes:
        """The digest (32 bytes) of the last row; it stands for the whole journal."""
        return self._rows[-1].digest if self._rows else self._genesis

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row, oldest first."""
        with self._thread_lock:
            return tuple(self._rows)

    def had(self, head: bytes) -> bool:
        """Whether the journal ever had this head (32 bytes)."""
        with self._thread_lock:
            return head == self._genesis or any(row.digest == head for row in reversed(self._rows))

    def append(self, event: AnyEvent) -> Row:
        """Add a row; when this returns it is on the disk. HomeError if it cannot be written."""
        with self._thread_lock:
            stored, row = seal(
                self._identity.signing_key, self.head, len(self._rows) + 1, int(time.time()), event
            )
            try:
                self._connection.execute(_INSERT, stored)
            except sqlite3.Error as error:
                raise HomeError(f"{self._folder / DATABASE_FILE} cannot be written: {error}") from error
            self._remember(row)
            _write_head(self._folder, row.sequence, row.digest)
            return row

    def last_round(self, run: bytes) -> int:
        """The highest round of ``run`` that was answered; 0 if none was."""
        return self._last_rounds.get(run, 0)

    def answer_digest(self, run: bytes, round_number: int, stage: int) -> bytes | None:
        """The digest of the answer given at this stage, if one was."""
        return self._answers.get((run, round_number, stage))

    def record_answer(self, run: bytes, round_number: int, stage: int, digest: bytes) -> None:
        """Allow the answer with this 32-byte digest to leave; call before it is sent.

        The same digest again is allowed again. Raises RuleBroken for another answer at the same stage
        (REPEATED_DIFFERENTLY) or for a round before the last one (ROUND_REPLAYED).
        """
        with self._thread_lock:
            given = self.answer_digest(run, round_number, stage)
            if given == digest:
                return
            if given is not None:
                raise RuleBroken(
                    RefusalCode.REPEATED_DIFFERENTLY,
                    f"round {round_number}, stage {stage}: another answer was given already",
                )
            if round_number < self.last_round(run):
                raise RuleBroken(
                    RefusalCode.ROUND_REPLAYED,
                    f"round {round_number} is not after round {self.last_round(run)} of this run",
                )
            self.append(Sign(run, round_number, stage, digest))

    def _remember(self, row: Row) -> None:
        self._rows.append(row)
        if isinstance(row.event, Sign):
            event = row.event
            self._answers[event.run, event.round, event.stage] = event.answer_digest
            self._last_rounds[event.run] = max(event.round, self.last_round(event.run))


def read_journal(folder: Path, public_key: bytes) -> list[Row]:
    """Every row of the journal in ``folder``, verified; also while a node writes to it.

    JournalCorrupt names the row and why. A folder without a journal has no rows.
    """
    if (folder / HEAD_FILE).exists() or (folder / DATABASE_FILE).exists():
        sequence, head = _read_head(folder / HEAD_FILE)  # before the rows: a writer may add some in between
        rows = verify_chain(stored_rows(folder), public_key)
    else:
        sequence, head, rows = 0, genesis(public_key), []
    digests = [genesis(_first_key_of(rows, public_key)), *(row.digest for row in rows)]
    if sequence >= len(digests):
        raise JournalCorrupt(
            f"journal row {len(digests)} is missing: {HEAD_FILE} names row {sequence} as the last one",
            hint="rows were deleted at the end, or an old copy of the database was restored",
        )
    if digests[sequence] != head:
        raise JournalCorrupt(
            f"journal row {sequence} is not the one that {HEAD_FILE} names",
            hint="the head file was changed, or rows were replaced by others of the same identity",
        )
    return rows


def change_key(
    folder: Path, identity: Identity, old_key: bytes, old_private: Ed25519PrivateKey | None
) -> None:
    """Let the journal in ``folder``, which ends in ``old_key``, go on with the signing key of ``identity``.

    ``old_private`` is the old key's private half, None if it was lost. Without rows the journal begins anew.
    HomeError if another process writes it, JournalCorrupt if it does not verify.
    """
    descriptor = _lock(folder)
    try:
        rows = read_journal(folder, old_key)
        if not rows:
            for path in [*folder.glob(f"{DATABASE_FILE}*"), folder / HEAD_FILE]:
                path.unlink(missing_ok=True)
            return
        event = rekey(rows[-1].digest, identity.signing_public_key, old_key, old_private)
        number = len(rows) + 1
        stored, row = seal(identity.signing_key, rows[-1].digest, number, int(time.time()), event)
        with contextlib.closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_INSERT, stored)
        _write_head(folder, row.sequence, row.digest)
    except sqlite3.Error as error:
        raise HomeError(f"{folder / DATABASE_FILE} cannot be written: {error}") from error
    finally:
        os.close(descriptor)


def last_key(folder: Path) -> bytes | None:
    """The signing key that the journal in ``folder`` was last changed to; None if it never was."""
    if not (folder / DATABASE_FILE).exists():
        return None
    return last_change(stored.event for stored in stored_rows(folder))


def is_being_written(folder: Path) -> bool:
    """Whether some process, most likely ``fedpriv node start``, holds the journal in ``folder``."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        os.close(_lock(folder))
    except HomeError:
        return True
    return False


def stored_rows(folder: Path) -> Iterator[StoredRow]:
    """The rows as they lie in the database, not verified; JournalCorrupt if it is none."""
    path = folder / DATABASE_FILE
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            found = connection.execute(_SELECT).fetchall()
        yield from msgspec.convert(found, list[StoredRow])
    except (sqlite3.Error, UnicodeDecodeError, msgspec.ValidationError, OverflowError) as error:
        raise JournalCorrupt(
            f"{path} is no journal, or a damaged one: {error}",
            hint="find the newest backup of the whole home; an older one forgets what was spent since",
        ) from error


def _first_key_of(rows: list[Row], public_key: bytes) -> bytes:
    """The key that began the journal with these ``rows``, which ends in ``public_key``."""
    return next((row.event.old_key for row in rows if isinstance(row.event, Rekey)), public_key)


def _lock(folder: Path) -> int:
    busy = HomeError(
        f"another process is writing the journal in {folder}",
        hint="stop the running `fedpriv node start` first",
    )
    return file_lock.acquire(folder / LOCK_FILE, busy)


def _begin_if_new(folder: Path, public_key: bytes) -> None:
    """Make an empty journal where there is none. A head beyond row 0 without a database is no such place."""
    database, head_file = folder / DATABASE_FILE, folder / HEAD_FILE
    if database.exists() or (head_file.exists() and _read_head(head_file)[0] > 0):
        return
    _write_head(folder, 0, genesis(public_key))
    # Built under another name: a crash leaves no database that is half a journal.
    draft = folder / f".{DATABASE_FILE}.new"
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(draft)) as connection:
        connection.executescript(_SCHEMA)
        connection.execute("PRAGMA journal_mode = WAL")
    draft.rename(database)
    sync_folder(folder)


def _read_head(path: Path) -> tuple[int, bytes]:
    try:
        sequence, digest = path.read_text(encoding="ascii").split()
        return int(sequence), bytes.fromhex(digest)
    except (OSError, ValueError) as error:
        raise JournalCorrupt(
            f"{path} is missing or unreadable; it must name the journal's last row",
            hint="find the newest backup of the whole home; an older one forgets what was spent since",
        ) from error


def _write_head(folder: Path, sequence: int, digest: bytes) -> None:
    draft = folder / f".{HEAD_FILE}.new"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{sequence} {digest.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / HEAD_FILE)
        sync_folder(folder)
    except OSError as error:
        raise HomeError(f"{folder / HEAD_FILE} cannot be written: {error.strerror}") from error
