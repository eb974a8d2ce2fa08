"""Rounds with real processes on one federation: well, killed, below threshold, healed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from fedpriv.coordinator import events, service
from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, open_run
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.model.folder import load_model
from fedpriv.node.budget import charges_of
from fedpriv.node.events import Release
from fedpriv.node.journal import read_journal
from fedpriv.secagg.messages import Stage


@pytest.fixture(scope="module")
def run(federation):
    """One run for the whole module."""
    return service.choose_run(federation.coordinator, study_path=federation.study_path, name=None)


def rows_of(federation, name):
    node = federation.nodes[name]
    return read_journal(node.folder, node.identity().signing_public_key)


def one_round(federation, run, observe=lambda event: None):
    (ended,) = service.run_rounds(federation.coordinator, run, count=1, observe=observe)
    return ended


def on_stage(stage, act):
    """An observer that calls ``act`` when ``stage`` begins."""

    def observe(event):
        if isinstance(event, events.StageBegan) and event.stage is stage:
            act()

    return observe


def plain(address):
    """An IPv4 address that a dual-stack socket shows as IPv6, as IPv4."""
    return address.removeprefix("::ffff:")


class SocketWatch(threading.Thread):
    """Notes every remote address that any process of the federation ever has a connection to."""

    def __init__(self, federation):
        super().__init__(daemon=True)
        self.remotes = {name: set() for name in federation.processes}
        self.listening = set()
        self._processes = {name: psutil.Process(child.pid) for name, child in federation.processes.items()}
        self._stop_asked = threading.Event()
        self.looks = 0

    def run(self):
        while not self._stop_asked.wait(0.05):
            self.looks += 1
            for name, root in self._processes.items():
                for process in [root, *root.children(recursive=True)]:
                    for connection in process.net_connections("inet"):
                        if connection.raddr:
                            self.remotes[name].add((plain(connection.raddr.ip), connection.raddr.port))
                        elif connection.status == psutil.CONN_LISTEN:
                            self.listening.add(plain(connection.laddr.ip))

    def stop(self):
        self._stop_asked.set()
        self.join()


def test_a_round_with_everybody_moves_the_model_and_is_charged_everywhere(federation, run):
    before = run.latest_vector()
    watch = SocketWatch(federation)
    watch.start()
    ended = one_round(federation, run)
    watch.stop()

    assert ended.outcome == "complete"
    assert ended.cohort == ("A", "B", "C")
    assert not (run.latest_vector() == before).all()
    study = run.study
    for name in "ABC":
        rows = rows_of(federation, name)
        charges = charges_of(rows, f"smears-{name}")
        assert [charge.charge for charge in charges] == [study.cost_of(1)]
        assert sum(isinstance(row.event, Release) for row in rows) == 1
    card = load_model(run.model_folder).card
    assert card.privacy.epsilon == pytest.approx(composed_epsilon([study.cost_of(1)], card.privacy.delta).pld)
    assert card.model_digest == ended.model_after

    # No process connects anywhere but to the coordinator.
    listen = federation.coordinator.config.listen
    fleet = ("127.0.0.1", int(listen.fleet.rpartition(":")[2]))
    assert watch.looks > 5
    for name in "ABC":
        assert watch.remotes[name] == {fleet}
    assert {ip for ip, _ in watch.remotes["coordinator"]} == {"127.0.0.1"}
    assert watch.listening == {"127.0.0.1"}


def test_a_hospital_killed_while_it_trains_is_left_out(federation, run):
    kill = federation.processes["B"].kill
    ended = one_round(federation, run, on_stage(Stage.UPLOAD, kill))
    assert ended.outcome == "complete"
    assert ended.cohort == ("A", "C")
    assert ended.dropped == {"B": "upload: did not answer in time"} or ended.dropped["B"].startswith(
        "upload: "
    )
    assert set(ended.asked_to_train) == {"A", "B", "C"}


def test_a_round_below_the_threshold_fails_closed_and_says_so(federation, run):
    before = run.latest_vector()
    ended = one_round(federation, run, on_stage(Stage.SHARE, federation.processes["C"].kill))
    assert ended.outcome == "failed"
    assert "at least 2 are needed" in ended.reason
    assert ended.cohort == ()
    assert (run.latest_vector() == before).all()


def test_hospitals_come_back_and_the_next_round_works(federation, run):
    for name in "BC":
        federation.start_node(name)
    ended = one_round(federation, run)
    assert ended.outcome == "complete"
    assert ended.cohort == ("A", "B", "C")
    # Whoever was asked to train was charged at most once a round, and never released more than was charged.
    for name in "ABC":
        rows = rows_of(federation, name)
        charged = {charge.round for charge in charges_of(rows, f"smears-{name}")}
        released = {row.event.round for row in rows if isinstance(row.event, Release)}
        assert released <= charged


def test_the_coordinator_killed_in_a_round_goes_on_with_the_next_number(federation, run):
    command = [
        sys.executable,
        "-m",
        "fedpriv",
        "round",
        "--home",
        str(federation.coordinator.folder),
        "--count",
    ]
    killed = subprocess.Popen([*command, "1"], stderr=subprocess.DEVNULL, start_new_session=True)
    started = len(run.lines())
    while len(run.lines()) == started:
        time.sleep(0.02)
        assert killed.poll() is None
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    number = run.next_round()

    done = subprocess.run([*command, "1", "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)["rounds"]
    assert line["round"] == number
    assert line["cohort"] == ["A", "B", "C"]
    assert open_run(run.folder).completed()[-1].round == number


def test_a_coordinator_that_was_killed_leaves_no_superlink_and_opens_again(federation, run):
    killed = federation.processes["coordinator"]
    children = psutil.Process(killed.pid).children(recursive=True)
    assert children
    killed.kill()
    killed.wait()
    _, left = psutil.wait_procs(children, timeout=20)
    assert left == []
    federation.start_coordinator()
    assert one_round(federation, run).cohort == ("A", "B", "C")


def test_a_superlink_that_was_killed_in_a_round_is_started_again_and_the_round_goes_on(federation, run):
    (superlink,) = psutil.Process(federation.processes["coordinator"].pid).children()
    ended = one_round(federation, run, on_stage(Stage.UPLOAD, superlink.kill))
    assert ended.cohort == ("A", "B", "C")
    said = federation.log("coordinator").read_text()
    assert "SuperLink ended by itself" in said
    assert federation.processes["coordinator"].poll() is None


def test_no_round_beyond_the_study(federation, run):
    command = [sys.executable, "-m", "fedpriv", "round", "--home", str(federation.coordinator.folder)]
    done = subprocess.run([*command, "--count", "9"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "of its 8 rounds left, not 9" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_stage_of_a_complete_round_is_timed(federation, run):
    last = run.completed()[-1]
    (receipts,) = (
        line for line in run.lines() if isinstance(line, ReceiptsAcknowledged) and line.round == last.round
    )
    seconds = last.seconds | receipts.seconds
    assert set(seconds) == {"advertise", "share", "upload", "agree", "unmask", "close"}
    assert all(value > 0 for value in seconds.values())
