"""What a SuperLink does with the state that it finds, before Flower sees it."""

import contextlib
import sqlite3

import pytest

from fedpriv.coordinator.superlink import DATABASE, Addresses, SuperLink, TlsFiles, _is_sound

NOWHERE = Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")


@pytest.fixture
def link(tmp_path):
    return SuperLink(tmp_path, NOWHERE, TlsFiles(tmp_path, tmp_path, tmp_path))


@pytest.fixture
def state(tmp_path):
    path = tmp_path / DATABASE
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE run (number INTEGER)")
        database.executemany("INSERT INTO run VALUES (?)", [(number,) for number in range(5_000)])
    return path


def test_a_state_that_sqlite_can_read_stays(link, state):
    content = state.read_bytes()
    assert _is_sound(state)
    assert not link._set_damaged_state_aside()
    assert state.read_bytes() == content


@pytest.mark.parametrize("offset", [0, 4096], ids=["no database", "one of whose pages is noise"])
def test_a_damaged_state_is_kept_aside_with_its_log(link, state, offset, caplog):
    content = bytearray(state.read_bytes())
    content[offset : offset + 2000] = bytes(range(1, 251)) * 8
    state.write_bytes(bytes(content))
    state.with_name(f"{DATABASE}-wal").write_bytes(b"")
    assert link._set_damaged_state_aside()
    assert not state.exists()
    assert state.with_name(f"{DATABASE}.damaged").read_bytes() == bytes(content)
    assert "is damaged: set aside as" in caplog.text


def test_a_second_damaged_state_takes_the_place_of_the_first(link, state):
    for content in (b"first" * 1000, b"second" * 1000):
        state.write_bytes(content)
        assert link._set_damaged_state_aside()
    assert state.with_name(f"{DATABASE}.damaged").read_bytes() == b"second" * 1000


def test_there_may_be_no_state_yet(link, tmp_path):
    assert not link._set_damaged_state_aside()
    assert not list(tmp_path.iterdir())


def test_a_state_in_use_by_another_is_no_damaged_one(state):
    with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert _is_sound(state)
