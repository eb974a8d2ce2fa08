"""Commands that stay: real processes, real ports and the signals of a terminal."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

STOP_S = 2.0
EXIT_S = 20.0  # for Python and TensorFlow to be torn down on a busy machine


class Process:
    """A ``fedpriv`` command as a shell runs it, with what it says on either stream collected."""

    def __init__(self, place, *arguments):
        self._child = subprocess.Popen(
            [sys.executable, "-m", "fedpriv", *arguments],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.lines = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self._child.stdout), daemon=True)
        self._reader.start()

    @property
    def text(self):
        return "".join(self.lines)

    def wait_for(self, words, timeout_s=60.0):
        give_up = time.monotonic() + timeout_s
        while words not in self.text:
            if self._child.poll() is not None:
                self._reader.join(10)
                assert words in self.text, self.text
            assert time.monotonic() < give_up, self.text
            time.sleep(0.02)

    def interrupt(self):
        """Ctrl-C, which goes to all processes of the terminal."""
        os.killpg(self._child.pid, signal.SIGINT)

    def end(self, timeout_s=EXIT_S):
        code = self._child.wait(timeout_s)
        self._reader.join(10)
        return code

    def kill(self):
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


@pytest.fixture
def start(place):
    running = []

    def run(*arguments):
        running.append(Process(place, *arguments))
        return running[-1]

    yield run
    for process in running:
        process.kill()


@pytest.fixture
def nobody(place):
    """An address where nobody listens, in A's node.toml."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound without listening: refuses every call, and nobody else gets it
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = place / "A" / "node.toml"
        config.write_text(config.read_text().replace("127.0.0.1:9092", address))
        yield address


def files_in(folder):
    return {path for path in folder.rglob("*") if not path.name.endswith(("-shm", "-wal"))}


def test_a_node_without_a_coordinator_says_so_keeps_trying_and_stops_at_once(start, nobody, place):
    before = files_in(place)
    node = start("node", "start", "--home", "A")
    node.wait_for(f"A: {nobody} does not answer; trying again (Ctrl-C stops)\n")
    time.sleep(1.5)  # several tries; the state has not changed, so nothing is said again
    node.interrupt()
    node.wait_for("A: stopped\n", STOP_S)
    assert node.end() == 0
    assert node.text.count("does not answer") == 1
    assert node.lines[-1] == "A: stopped\n"
    assert "Traceback" not in node.text
    register = place / "A" / "register"  # which images it holds; binds nothing before a charge names it
    new = files_in(place) - before - {place / "A" / "logs" / "node.log", register}
    assert {path.parent for path in new} <= {register}


def test_ctrl_c_while_a_node_still_loads_is_one_line(start, nobody):
    node = start("node", "start", "--home", "A")
    node.wait_for("A: loading ")
    node.interrupt()
    assert node.end() in {0, 130}  # 0 if it had finished loading just then
    assert node.lines[-1] in {"error: interrupted\n", "A: stopped\n"}
    assert "Traceback" not in node.text


@pytest.mark.parametrize("listen", ["fleet", "control"])
def test_a_port_in_use(start, place, listen):
    before = files_in(place)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        config = place / "coordinator" / "coordinator.toml"
        old = {"fleet": "127.0.0.1:9092", "control": "127.0.0.1:9093"}[listen]
        config.write_text(config.read_text().replace(old, f"127.0.0.1:{port}"))
        coordinator = start("coordinator", "start", "--home", "coordinator")
        assert coordinator.end() == 2
    error, hint = coordinator.lines
    assert error == f"error: cannot listen on 127.0.0.1:{port}: address already in use\n"
    assert hint.startswith("hint: stop what uses the port")
    assert files_in(place) == before


def test_a_coordinator_opens_and_ctrl_c_closes_it(start, place, fedpriv):
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        ports = []
        for probe in (first, second, third):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    config = place / "coordinator" / "coordinator.toml"
    text = config.read_text()
    for old, new in zip(("9092", "9091", "9093"), ports, strict=True):
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    config.write_text(text)
    coordinator = start("coordinator", "start", "--home", "coordinator")
    coordinator.wait_for(f"open for 3 hospitals at 127.0.0.1:{ports[0]} (Ctrl-C closes)\n")
    shown = fedpriv("coordinator", "status", "--home", "coordinator", "--json").json
    assert shown["online"] == {"A": False, "B": False, "C": False}
    twice = start("coordinator", "start", "--home", "coordinator")
    assert twice.end() == 2
    assert twice.lines[0].startswith("error: ")
    coordinator.interrupt()
    assert coordinator.end() == 0
    assert coordinator.lines[-1] == "closed\n"
    assert "Traceback" not in coordinator.text
    assert fedpriv("coordinator", "status", "--home", "coordinator", "--json").json["online"] is None
