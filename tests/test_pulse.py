"""A pulse counts while it is fresh, whatever it says, and a process that ended in order leaves none."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fedpriv import pulse
from fedpriv.errors import Refused
from fedpriv.pulse import Heart, Pulse, check, pulse_of

WELL = Pulse(well=True, state="open", says="open")


def written(path):
    give_up = time.monotonic() + 5
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return path


def test_a_live_process_is_well_and_one_that_ended_is_gone(tmp_path):
    path = tmp_path / "x.pulse"
    with Heart(path, lambda: WELL):
        assert check(written(path), "the node") == WELL
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Refused, match=r"^the node does not run, or has said nothing for 30 s$"):
        check(path, "the node")


def test_what_it_says_is_the_reason(tmp_path):
    path = tmp_path / "x.pulse"
    with (
        Heart(path, lambda: Pulse(well=False, state="lost", says="nobody answers")),
        pytest.raises(Refused, match="the node is up, but nobody answers"),
    ):
        check(written(path), "the node")


def test_a_change_is_told_at_once(tmp_path):
    path, now = tmp_path / "x.pulse", [WELL]
    with Heart(path, lambda: now[0]) as heart:
        written(path)
        now[0] = Pulse(well=False, state="lost", says="gone")
        heart.beat()
        assert pulse_of(path) == now[0]


@pytest.mark.parametrize("shift_s", [pulse.STALE_S + 1, -100.0], ids=["old", "before a reboot"])
def test_a_pulse_of_another_time_does_not_count(tmp_path, monkeypatch, shift_s):
    path = tmp_path / "x.pulse"
    with Heart(path, lambda: WELL):
        written(path)
        later = time.monotonic() + shift_s
        monkeypatch.setattr(pulse.time, "monotonic", lambda: later)
        assert pulse_of(path) is None
        monkeypatch.undo()


def test_garbage_is_no_pulse(tmp_path):
    path = tmp_path / "x.pulse"
    for content in (b"", b"{", b'{"process_id": 1}', b"\xff"):
        path.write_bytes(content)
        assert pulse_of(path) is None


def test_a_process_that_is_stopped_or_killed_grows_stale(tmp_path):
    program = (
        "import sys, pathlib, time; from fedpriv import pulse; pulse.BEAT_S = 0.1\n"
        "look = lambda: pulse.Pulse(True, 'open', 'open')\n"
        "with pulse.Heart(pathlib.Path(sys.argv[1]), look): time.sleep(60)"
    )
    path = tmp_path / "x.pulse"
    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as child:
        try:
            written(path)
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(0.3)
            silent = path.read_bytes()
            time.sleep(0.5)
            assert path.read_bytes() == silent
            os.kill(child.pid, signal.SIGCONT)
            time.sleep(0.5)
            assert path.read_bytes() != silent
        finally:
            child.kill()
    assert path.exists()  # so that only its age tells


def test_a_disk_that_takes_nothing_stops_no_process(tmp_path):
    with Heart(tmp_path / "none" / "x.pulse", lambda: WELL) as heart:
        heart.beat()
