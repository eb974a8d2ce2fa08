"""What the open door tells: who came and went, whether its SuperLink answers, and no log without end."""

import logging
import subprocess
import sys

import pytest

from fedpriv.coordinator import door
from fedpriv.coordinator.superlink import Addresses, SuperLink, TlsFiles
from fedpriv.logs import FILE_BYTES


@pytest.fixture
def opened():
    return door._Door("0.0.0.0:9092", ("A", "B"))


def test_who_comes_and_goes_is_an_event_about_that_hospital(opened, caplog):
    caplog.set_level(logging.INFO, logger="fedpriv")
    for online in ({"A"}, {"A"}, {"A", "B"}, {"B"}):
        opened.look(online)
    told = [(record.event, record.about["hospital"]) for record in caplog.records]
    assert told == [("hospital_online", "A"), ("hospital_online", "B"), ("hospital_offline", "A")]
    assert opened.online() == {"A": False, "B": True}


def test_it_is_well_as_long_as_the_superlink_answers(opened, monkeypatch):
    opened.look({"B"})
    assert opened.pulse().well
    assert opened.pulse().says == "open at 0.0.0.0:9092, 1 of 2 hospitals online"
    later = door.time.monotonic() + door._SILENT_S + 5
    monkeypatch.setattr(door.time, "monotonic", lambda: later)
    pulse = opened.pulse()
    assert (pulse.well, pulse.state) == (False, "silent")
    opened.look({"B"})
    assert opened.pulse().well


def test_the_log_of_the_superlink_is_bounded_while_it_writes(tmp_path):
    nowhere = Addresses(fleet="127.0.0.1:1", serverappio="127.0.0.1:2", control="127.0.0.1:3")
    link = SuperLink(tmp_path, nowhere, TlsFiles(tmp_path, tmp_path, tmp_path))
    link.bound_log()  # there is none yet
    program = (
        "import sys\n"
        "for line in sys.stdin: print(line * 2000, end='', flush=True); print('|', file=sys.stderr)"
    )
    with (
        link.log.open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
        ) as child,
    ):
        for number in range(42):
            child.stdin.write(f"{number:04d} {'x' * 60}\n")
            child.stdin.flush()
            child.stderr.readline()
            link.bound_log()
        child.stdin.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 2 * FILE_BYTES
    text = link.log.read_text()
    assert text.endswith(f"0041 {'x' * 60}\n")
    assert "\0" not in text
