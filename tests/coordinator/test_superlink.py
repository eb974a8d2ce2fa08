"""What a SuperLink does with the state that it finds, before Flower sees it."""

import contextlib
import sqlite3

import pytest

from fedpriv.coordinator.superlink import DATABASE, Addresses, SuperLink, TlsFiles, _is_sound
from fedpriv.errors import Unreachable

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


@pytest.fixture
def made(link, monkeypatch):
    """The state that Flower would make, elsewhere."""

    def make(place):
        (place / DATABASE).write_bytes(b"new")
        (place / f"{DATABASE}-wal").write_bytes(b"new log")

    monkeypatch.setattr(link, "_make_state", make)
    return link


def test_a_state_that_sqlite_can_read_stays(made, state):
    content = state.read_bytes()
    assert _is_sound(state)
    made._replace_damaged_state()
    assert state.read_bytes() == content


@pytest.mark.parametrize("offset", [0, 4096], ids=["no database", "one of whose pages is noise"])
def test_a_damaged_state_is_kept_aside_and_a_new_one_stands_in_its_place(made, state, offset, caplog):
    content = bytearray(state.read_bytes())
    content[offset : offset + 2000] = bytes(range(1, 251)) * 8
    state.write_bytes(bytes(content))
    made._replace_damaged_state()
    assert state.with_name(f"{DATABASE}.damaged").read_bytes() == bytes(content)
    assert (state.read_bytes(), state.with_name(f"{DATABASE}-wal").read_bytes()) == (b"new", b"new log")
    assert len(list(state.parent.iterdir())) == 3
    assert "was damaged: set aside as" in caplog.text


def test_what_makes_a_new_state_may_fail_and_is_done_again(made, state, monkeypatch):
    state.write_bytes(b"noise" * 1000)

    def fail(_place):
        raise Unreachable("the new one did not start")

    with monkeypatch.context() as patch:
        patch.setattr(made, "_make_state", fail)
        with pytest.raises(Unreachable):
            made._replace_damaged_state()
    assert state.read_bytes() == b"noise" * 1000
    made._replace_damaged_state()
    assert state.read_bytes() == b"new"


def test_a_second_damaged_state_takes_the_place_of_the_first_and_of_its_log(made, state):
    for content in (b"first" * 1000, b"second" * 1000):
        state.write_bytes(content)
        made._replace_damaged_state()
    assert state.with_name(f"{DATABASE}.damaged").read_bytes() == b"second" * 1000
    state.with_name(f"{DATABASE}-wal").unlink()
    state.write_bytes(b"third" * 1000)
    made._replace_damaged_state()
    assert not state.with_name(f"{DATABASE}.damaged-wal").exists()


def test_there_may_be_no_state_yet(made, tmp_path):
    made._replace_damaged_state()
    assert not list(tmp_path.iterdir())


def test_a_state_in_use_by_another_is_no_damaged_one(state):
    with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert _is_sound(state)
