"""One way to log: events for people on stderr, everything in a bounded file, JSON for machines, no secret."""

import json
import logging
import re
import stat
import threading
import warnings

import pytest

from fedpriv import logs

log = logging.getLogger("fedpriv.test")


def events_in(text):
    return [json.loads(line) for line in text.splitlines()]


def test_text_has_events_alone_on_stderr_and_everything_in_the_file(tmp_path, capsys):
    with logs.kept(as_json=False) as kept:
        kept.hospital = "A"
        kept.keep_in(tmp_path / "logs" / "node.log")
        logs.event(log, "open", "open for business")
        log.warning("a library's word")
        log.info("another")
        log.debug("too much")
        logging.getLogger("alembic").info("a plugin was set up")
    assert capsys.readouterr().err == "A: open for business\n"
    first, second, third = (tmp_path / "logs" / "node.log").read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{stamp} INFO fedpriv\.test open for business", first)
    assert second.endswith(" WARNING fedpriv.test a library's word")
    assert third.endswith(" INFO fedpriv.test another")


def test_json_is_one_object_a_line_with_a_closed_list_of_keys(tmp_path, capsys):
    with logs.kept(as_json=True) as kept:
        kept.hospital = "A"
        kept.keep_in(tmp_path / "node.log")
        logs.event(log, "charged", "round 3", run="ab", round=3, level=logging.WARNING)
        log.info("two\nlines")
        logs.event(log, "hospital_online", "B came", hospital="B")
    err = capsys.readouterr().err
    assert (tmp_path / "node.log").read_text() == err
    charged, plain, online = events_in(err)
    assert list(charged) == ["time", "level", "event", "hospital", "run", "round", "message"]
    assert (charged["level"], charged["event"], charged["round"]) == ("warning", "charged", 3)
    assert plain["event"] == "log"
    assert (plain["logger"], plain["message"]) == ("fedpriv.test", "two\nlines")
    assert online["hospital"] == "B"
    allowed = {"time", "level", "event", "logger", "message", *logs.About.__annotations__}
    assert set(charged) | set(plain) | set(online) <= allowed


def test_no_field_can_be_added_by_the_way(capsys):
    with logs.kept(as_json=True):
        log.info("hello", extra={"images": 412})
    assert "412" not in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_an_exception_is_logged_by_type_and_place_and_never_by_its_words(tmp_path, capsys, as_json):
    secret = "MC4CAQAwBQYDK2VwBCIEIGtleSBtYXRlcmlhbA"
    with logs.kept(as_json=as_json) as kept:
        kept.keep_in(tmp_path / "log")
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception("a request failed")
    written = (tmp_path / "log").read_text() + capsys.readouterr().err
    assert secret not in written
    assert "a request failed: ValueError in test_logs.py:" in written


def test_a_message_from_outside_can_neither_begin_a_line_nor_move_the_cursor(tmp_path, capsys):
    with logs.kept(as_json=False) as kept:
        kept.keep_in(tmp_path / "log")
        logs.event(log, "refused", "no\n2026-01-01T00:00:00.000Z INFO all is well\x1b[2Jé")
    for text in (capsys.readouterr().err, (tmp_path / "log").read_text()):
        assert text.count("\n") == 1
        assert "\x1b" not in text
        assert r"no\n2026" in text
        assert "é" in text


def test_a_record_has_a_longest_length(tmp_path, capsys):
    with logs.kept(as_json=True):
        logs.event(log, "refused", "x" * 100_000)
    (line,) = events_in(capsys.readouterr().err)
    assert len(line["message"]) == logs.LONGEST_MESSAGE


def test_the_file_is_private_and_bounded(tmp_path):
    with logs.kept(as_json=False, on_terminal=False) as kept:
        kept.keep_in(tmp_path / "logs" / "node.log")
        for _ in range(8 * logs.FILE_BYTES // logs.LONGEST_MESSAGE):
            log.info("y" * logs.LONGEST_MESSAGE)
    files = sorted((tmp_path / "logs").iterdir())
    assert len(files) == 1 + logs.OLD_FILES
    assert all(file.stat().st_size <= logs.FILE_BYTES for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path, capsys):
    (tmp_path / "full").symlink_to("/dev/full")
    with logs.kept(as_json=False) as kept:
        kept.keep_in(tmp_path / "full")
        logs.event(log, "open", "open for business")
    assert capsys.readouterr().err == "open for business\n"


def test_a_thread_that_crashes_and_a_warning_are_json_too(capsys):
    def crash():
        raise RuntimeError("words")

    with logs.kept(as_json=True):
        thread = threading.Thread(target=crash)
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", stacklevel=1)
    crashed, warned = events_in(capsys.readouterr().err)
    assert crashed["event"] == "thread_crashed"
    assert crashed["message"].startswith("RuntimeError in test_logs.py:")
    assert warned["logger"] == "py.warnings"


def test_afterwards_logging_is_as_it_was_before(tmp_path):
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.raiseExceptions, threading.excepthook)
    with logs.kept(as_json=True) as kept:
        kept.keep_in(tmp_path / "log")
    assert (root.level, list(root.handlers), logging.raiseExceptions, threading.excepthook) == before
