import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.errors import HomeError, JournalCorrupt
from fedpriv.identity.keys import new_identity, save
from fedpriv.node import journal as journals
from fedpriv.node.chain import genesis, seal, verify_chain
from fedpriv.node.events import Approve, Close, Refuse, Release, Reserve, Sign
from fedpriv.node.journal import DATABASE_FILE, HEAD_FILE, Journal, is_being_written, read_journal
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

RUN, OTHER_RUN = b"r" * 16, b"s" * 16
ME = new_identity("A")
KEY = ME.signing_public_key
EVENTS = [
    Approve("demo", b"d" * 32),
    Reserve(RUN, 1, b"d" * 32, "smears", "image", PrivacyEvent(1.5, 0.25, 10), b"i" * 32),
    Release(RUN, 1, b"v" * 32),
    Refuse(RUN, 1, 2, RefusalCode.POLICY, 'a "reason"\n'),
    Sign(RUN, 1, 0, b"a" * 32),
    Close(RUN, 1, b"\x00receipt\xff"),
]


def fill(folder, events=EVENTS):
    with Journal(folder, ME) as journal:
        for event in events:
            journal.append(event)
    return folder


def tamper(folder, *statements):
    """Run SQL as somebody who has the file, and no respect for triggers."""
    connection = sqlite3.connect(folder / DATABASE_FILE)
    with connection:
        for trigger in ("rows_are_never_updated", "rows_are_never_deleted"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(*statement)
    connection.close()


def refused_with(code, call):
    with pytest.raises(RuleBroken) as error:
        call()
    assert error.value.code is code


# What is written


def test_every_kind_of_event_comes_back_after_a_restart(tmp_path):
    fill(tmp_path)
    rows = read_journal(tmp_path, KEY)
    assert [row.event for row in rows] == EVENTS
    assert [row.sequence for row in rows] == [1, 2, 3, 4, 5, 6]
    with Journal(tmp_path, ME) as journal:
        assert journal.rows == tuple(rows)
        assert journal.head == rows[-1].digest


def test_the_head_starts_at_genesis_and_changes_with_every_row(tmp_path):
    with Journal(tmp_path, ME) as journal:
        heads = [journal.head, *(journal.append(event).digest for event in EVENTS)]
        assert heads[0] == genesis(KEY)
        assert journal.head == heads[-1]
    assert len(set(heads)) == len(EVENTS) + 1


def test_a_folder_without_a_journal_has_no_rows(tmp_path):
    assert read_journal(tmp_path, KEY) == []
    assert not is_being_written(tmp_path)


def test_a_reader_sees_rows_while_a_writer_writes(tmp_path):
    with Journal(tmp_path, ME) as journal:
        for count in range(1, 4):
            journal.append(EVENTS[0])
            assert len(read_journal(tmp_path, KEY)) == count


def test_files_are_private(tmp_path):
    with Journal(tmp_path, ME) as journal:
        journal.append(EVENTS[0])
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_the_database_is_in_wal_mode_and_syncs_fully(tmp_path):
    with Journal(tmp_path, ME) as journal:
        assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("statement", ["UPDATE rows SET unix_time_s = 0", "DELETE FROM rows"])
def test_accidents_are_stopped_by_the_database_itself(tmp_path, statement):
    fill(tmp_path)
    connection = sqlite3.connect(tmp_path / DATABASE_FILE)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()


def test_threads_of_one_process_share_a_journal(tmp_path):
    with Journal(tmp_path, ME) as journal:
        threads = [
            threading.Thread(target=lambda: [journal.append(EVENTS[0]) for _ in range(10)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read_journal(tmp_path, KEY)) == 40


# One writer


def test_a_second_process_is_refused_and_told_why(tmp_path):
    with Journal(tmp_path, ME):
        assert is_being_written(tmp_path)
        with pytest.raises(HomeError, match="another process is writing the journal") as error:
            Journal(tmp_path, ME)
        assert "node start" in error.value.hint
    assert not is_being_written(tmp_path)
    Journal(tmp_path, ME).close()


def test_a_journal_that_fails_to_open_lets_go_of_the_lock(tmp_path):
    fill(tmp_path)
    (tmp_path / DATABASE_FILE).write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(JournalCorrupt):
            Journal(tmp_path, ME)
    assert not is_being_written(tmp_path)


def test_a_home_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(HomeError, match="cannot be opened: No such file"):
        Journal(tmp_path / "none", ME)


def test_a_full_disk_is_reported_and_nothing_half_written_counts(tmp_path, monkeypatch):
    with Journal(tmp_path, ME) as journal:
        journal.append(EVENTS[0])
        journal._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(HomeError, match=r"journal\.sqlite cannot be written: database or disk is full"):
            journal.append(Close(RUN, 1, bytes(100_000)))
        written = len(journal.rows)
    assert len(read_journal(tmp_path, KEY)) == written


def test_a_head_that_cannot_be_written_leaves_the_row_counted(tmp_path, monkeypatch):
    with Journal(tmp_path, ME) as journal:
        (tmp_path / f".{HEAD_FILE}.new").mkdir()
        with pytest.raises(HomeError, match=r"journal\.head cannot be written"):
            journal.append(EVENTS[0])
        assert len(journal.rows) == 1
    (tmp_path / f".{HEAD_FILE}.new").rmdir()
    assert len(read_journal(tmp_path, KEY)) == 1


# Once


def test_the_same_answer_may_be_given_again_and_no_other(tmp_path):
    with Journal(tmp_path, ME) as journal:
        assert journal.answer_digest(RUN, 1, 3) is None
        journal.record_answer(RUN, 1, 3, b"a" * 32)
        journal.record_answer(RUN, 1, 3, b"a" * 32)
        assert len(journal.rows) == 1
        refused_with(RefusalCode.REPEATED_DIFFERENTLY, lambda: journal.record_answer(RUN, 1, 3, b"b" * 32))
        assert journal.answer_digest(RUN, 1, 3) == b"a" * 32


def test_round_numbers_of_a_run_only_grow(tmp_path):
    with Journal(tmp_path, ME) as journal:
        assert journal.last_round(RUN) == 0
        journal.record_answer(RUN, 3, 0, b"a" * 32)
        journal.record_answer(RUN, 3, 1, b"b" * 32)
        refused_with(RefusalCode.ROUND_REPLAYED, lambda: journal.record_answer(RUN, 2, 0, b"a" * 32))
        journal.record_answer(RUN, 7, 0, b"c" * 32)
        refused_with(RefusalCode.ROUND_REPLAYED, lambda: journal.record_answer(RUN, 3, 2, b"d" * 32))
        assert journal.last_round(RUN) == 7
        journal.record_answer(OTHER_RUN, 1, 0, b"a" * 32)
        assert journal.last_round(OTHER_RUN) == 1


def test_once_holds_across_a_restart(tmp_path):
    with Journal(tmp_path, ME) as journal:
        journal.record_answer(RUN, 5, 3, b"a" * 32)
    with Journal(tmp_path, ME) as journal:
        assert journal.last_round(RUN) == 5
        journal.record_answer(RUN, 5, 3, b"a" * 32)
        refused_with(RefusalCode.REPEATED_DIFFERENTLY, lambda: journal.record_answer(RUN, 5, 3, b"b" * 32))
        refused_with(RefusalCode.ROUND_REPLAYED, lambda: journal.record_answer(RUN, 4, 0, b"c" * 32))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 2), st.sampled_from([b"a" * 32, b"b" * 32])), max_size=12
    )
)
def test_whatever_is_asked_each_stage_has_one_answer_and_rounds_grow(tmp_path_factory, asked):
    allowed = []
    with Journal(tmp_path_factory.mktemp("home"), ME) as journal:
        for number, stage, digest in asked:
            try:
                journal.record_answer(RUN, number, stage, digest)
            except RuleBroken:
                continue
            allowed.append((number, stage, digest))
        signed = [(row.event.round, row.event.stage, row.event.answer_digest) for row in journal.rows]
    assert set(signed) == set(allowed)
    assert len({entry[:2] for entry in signed}) == len(signed)
    assert [number for number, _, _ in signed] == sorted(number for number, _, _ in signed)


# Tampering


@pytest.mark.parametrize("row", [1, 3, 6])
@pytest.mark.parametrize(
    "change",
    [
        "unix_time_s = unix_time_s + 1",
        "event = CAST(replace(CAST(event AS TEXT), '{', '{ ') AS BLOB)",
        "salt = zeroblob(16)",
        "salt = zeroblob(0)",
        "signature = zeroblob(64)",
        "signature = zeroblob(0)",
    ],
)
def test_an_edited_row_is_named(tmp_path, row, change):
    fill(tmp_path)
    tamper(tmp_path, (f"UPDATE rows SET {change} WHERE sequence = ?", (row,)))
    with pytest.raises(JournalCorrupt, match=f"journal row {row} was changed"):
        read_journal(tmp_path, KEY)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_changed_byte_of_an_event_is_found(data):
    stored, head = [], genesis(KEY)
    for sequence, event in enumerate(EVENTS, start=1):
        written, row = seal(ME.signing_key, head, sequence, 1_700_000_000, event)
        stored.append(written)
        head = row.digest
    assert [row.event for row in verify_chain(stored, KEY)] == EVENTS
    index = data.draw(st.integers(0, len(stored) - 1))
    content = bytearray(stored[index].event)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    stored[index] = stored[index]._replace(event=bytes(content))
    with pytest.raises(JournalCorrupt, match=f"journal row {index + 1} was changed"):
        verify_chain(stored, KEY)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_of_the_file_is_found_or_without_effect(filled, tmp_path, data):
    content = bytearray((filled / DATABASE_FILE).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    folder = tmp_path / "copy"
    shutil.copytree(filled, folder)
    (folder / DATABASE_FILE).write_bytes(content)
    try:
        events = [row.event for row in read_journal(folder, KEY)]
    except JournalCorrupt as error:
        events = error.message.split("\n")[1:] or EVENTS  # one line
    finally:
        shutil.rmtree(folder)
    assert events == EVENTS


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("filled"))


def test_a_removed_row_in_the_middle_is_named(tmp_path):
    fill(tmp_path)
    tamper(tmp_path, ("DELETE FROM rows WHERE sequence = 3",))
    with pytest.raises(JournalCorrupt, match="journal row 3 is missing: row 4 is in its place"):
        read_journal(tmp_path, KEY)


def test_a_removed_row_is_found_after_renumbering(tmp_path):
    fill(tmp_path)
    tamper(
        tmp_path,
        ("DELETE FROM rows WHERE sequence = 3",),
        *((f"UPDATE rows SET sequence = {row - 1} WHERE sequence = {row}",) for row in (4, 5, 6)),
    )
    with pytest.raises(JournalCorrupt, match="journal row 3 was changed, or does not follow row 2"):
        read_journal(tmp_path, KEY)


def test_a_deleted_last_row_is_named(tmp_path):
    fill(tmp_path)
    tamper(tmp_path, ("DELETE FROM rows WHERE sequence = 6",))
    with pytest.raises(
        JournalCorrupt, match=r"journal row 6 is missing: journal\.head names row 6 as the last"
    ):
        read_journal(tmp_path, KEY)
    with pytest.raises(JournalCorrupt, match="journal row 6 is missing"):
        Journal(tmp_path, ME)


def test_an_old_copy_of_the_database_is_found(tmp_path):
    fill(tmp_path)
    old = (tmp_path / DATABASE_FILE).read_bytes()
    fill(tmp_path, EVENTS[:2])
    (tmp_path / DATABASE_FILE).write_bytes(old)
    with pytest.raises(JournalCorrupt, match="journal row 7 is missing") as error:
        read_journal(tmp_path, KEY)
    assert "old copy" in error.value.hint


def test_a_journal_knows_every_head_that_it_ever_had_and_an_old_copy_does_not(tmp_path):
    home, backup = tmp_path / "home", tmp_path / "backup"
    home.mkdir()
    fill(home)
    shutil.copytree(home, backup)
    fill(home, EVENTS[:1])
    heads = [genesis(KEY), *(row.digest for row in read_journal(home, KEY))]
    with Journal(home, ME) as journal, Journal(backup, ME) as old:
        assert all(map(journal.had, heads))
        assert [old.had(head) for head in heads] == [True] * (len(heads) - 1) + [False]


def test_a_database_that_was_thrown_away_is_found(tmp_path):
    fill(tmp_path)
    for path in tmp_path.glob(f"{DATABASE_FILE}*"):
        path.unlink()
    for open_it in (lambda: read_journal(tmp_path, KEY), lambda: Journal(tmp_path, ME)):
        with pytest.raises(JournalCorrupt):
            open_it()
    assert not (tmp_path / DATABASE_FILE).exists()


@pytest.mark.parametrize("content", [None, b"", b"6", b"x y", b"6 zz", b"\xff\xff 00"])
def test_a_head_file_that_is_gone_or_broken_is_reported(tmp_path, content):
    fill(tmp_path)
    if content is None:
        (tmp_path / HEAD_FILE).unlink()
    else:
        (tmp_path / HEAD_FILE).write_bytes(content)
    with pytest.raises(JournalCorrupt, match=r"journal\.head is missing or unreadable"):
        read_journal(tmp_path, KEY)


def test_a_changed_head_file_is_found(tmp_path):
    fill(tmp_path)
    (tmp_path / HEAD_FILE).write_text(f"6 {'00' * 32}\n")
    with pytest.raises(JournalCorrupt, match=r"journal row 6 is not the one that journal\.head names"):
        read_journal(tmp_path, KEY)


def test_rows_of_another_identity_are_refused(tmp_path):
    fill(tmp_path)
    (tmp_path / HEAD_FILE).write_text(f"0 {genesis(new_identity('B').signing_public_key).hex()}\n")
    with pytest.raises(JournalCorrupt, match=r"journal row 1 was changed.*or belongs to another identity"):
        read_journal(tmp_path, new_identity("B").signing_public_key)


def test_a_genuine_row_of_a_later_version_is_not_called_forged(tmp_path):
    head = genesis(KEY)
    stored, _ = seal(ME.signing_key, head, 1, 0, EVENTS[0])
    content = json.dumps({**json.loads(stored.event), "kind": "later"}).encode()
    from fedpriv.identity.signing import sign
    from fedpriv.node import chain

    digest = chain.row_digest(head, 1, chain.content_digest(stored.salt, 0, content))
    later = stored._replace(event=content, signature=sign(ME.signing_key, b"journal row", digest))
    with pytest.raises(JournalCorrupt, match="journal row 1 is genuine but of no kind") as error:
        verify_chain([later], KEY)
    assert "newer" in error.value.hint


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SQLite format 3\x00" + bytes(4096)])
def test_a_corrupt_database_is_one_line(tmp_path, content):
    fill(tmp_path)
    (tmp_path / DATABASE_FILE).write_bytes(content)
    with pytest.raises(JournalCorrupt, match=r"journal\.sqlite is no journal, or a damaged one") as error:
        read_journal(tmp_path, KEY)
    assert "\n" not in error.value.message
    assert "backup" in error.value.hint


def test_values_of_the_wrong_type_are_corruption(tmp_path):
    fill(tmp_path)
    connection = sqlite3.connect(tmp_path / DATABASE_FILE)
    connection.executescript(
        "DROP TABLE rows; CREATE TABLE rows (sequence, unix_time_s, event, salt, signature);"
        "INSERT INTO rows VALUES (1, 'noon', x'00', x'00', x'00');"
    )
    connection.close()
    with pytest.raises(JournalCorrupt, match="damaged"):
        read_journal(tmp_path, KEY)


# Crashes


def test_a_crash_between_row_and_head_file_is_mended(tmp_path, monkeypatch):
    fill(tmp_path, EVENTS[:3])
    stale = (tmp_path / HEAD_FILE).read_bytes()
    fill(tmp_path, EVENTS[3:4])
    (tmp_path / HEAD_FILE).write_bytes(stale)
    assert len(read_journal(tmp_path, KEY)) == 4
    with Journal(tmp_path, ME) as journal:
        assert (tmp_path / HEAD_FILE).read_text() == f"4 {journal.head.hex()}\n"


@pytest.mark.parametrize("step", ["_write_head", "sync_folder"])
def test_a_crash_while_a_journal_begins_is_mended(tmp_path, monkeypatch, step):
    class Crash(BaseException):
        pass

    def crash(*arguments):
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(journals, step, crash)
        with pytest.raises(Crash):
            Journal(tmp_path, ME)
    fill(tmp_path)
    assert len(read_journal(tmp_path, KEY)) == len(EVENTS)


WRITER = """
import sys
from pathlib import Path
from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.identity.keys import load
from fedpriv.node.events import Release, Reserve
from fedpriv.node.journal import Journal

home, run = Path(sys.argv[1]), bytes.fromhex(sys.argv[2])
with Journal(home, load(home / "identity")) as journal:
    number = 1
    while True:
        journal.append(
            Reserve(run, number, bytes(32), "smears", "image", PrivacyEvent(1.0, 0.5, 1), bytes(32))
        )
        print("reserved", number, flush=True)
        journal.append(Release(run, number, bytes(32)))
        print("released", number, flush=True)
        journal.record_answer(run, number, 2, bytes(32))
        print("signed", number, flush=True)
        number += 1
"""

KILLS = 50


def test_fifty_kills_at_random_points_lose_nothing_that_was_promised(tmp_path):
    """What the writer said before it was killed, its journal still says; spent is never below released."""
    save(ME, tmp_path / "identity")
    promised = 0
    for attempt in range(KILLS):
        run = attempt.to_bytes(16, "big")
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, run.hex()],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        first = writer.stdout.readline()
        time.sleep(int.from_bytes(os.urandom(2), "big") / 2**16 * 0.05)
        writer.send_signal(signal.SIGKILL)
        said = [first, *writer.stdout.read().splitlines()]
        writer.wait()
        writer.stdout.close()
        events = [row.event for row in read_journal(tmp_path, KEY)]
        ours = [event for event in events if getattr(event, "run", None) == run]
        for kind, word in ((Reserve, "reserved"), (Release, "released"), (Sign, "signed")):
            told = sum(line.startswith(word) for line in said)
            kept = [event.round for event in ours if isinstance(event, kind)]
            assert kept == list(range(1, len(kept) + 1))
            assert told <= len(kept) <= told + 1
            promised += told
        assert sum(isinstance(e, Release) for e in ours) <= sum(isinstance(e, Reserve) for e in ours)
    assert promised > KILLS
