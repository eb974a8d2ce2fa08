"""A federation of real processes whose machines, disks, clocks and lines can be spoiled while it works.

Each host has a network namespace of its own, each home a small disk of its own (tmpfs), every process a
clock that can jump. Training is planted, so that every sum can be checked; all else is what
`fedpriv` does. What cannot be made on this machine is named by `missing`.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import psutil
from support import wire
from support.federations import small_study

from fedpriv.cli.local_federation import LocalFederation, found
from fedpriv.coordinator.home import Deadlines
from fedpriv.coordinator.rounds import charged_rounds
from fedpriv.coordinator.run_folder import new_run, open_run
from fedpriv.node.events import Release, Reserve
from fedpriv.node.home import Dataset
from fedpriv.node.journal import read_journal
from fedpriv.toml_files import dump_toml

HERE = Path(__file__).parent
DEADLINES = Deadlines(join_s=25.0, answer_s=4.0, training_s=6.0)
HOME_BYTES = 24_000_000
ADDRESS = "10.77.0.1"
COMMAND_LIMIT_S = 150.0
_LOOK_S = 0.02
_PATIENCE_S = 40.0


def missing():
    """Why no federation can be spoiled here; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces and small disks need Linux and root"
    if not wire.available():
        return "no network namespaces or TUN devices here"
    return "" if shutil.which("cc") else "no C compiler for the clock"


@dataclass(frozen=True)
class Outcome:
    """How one `fedpriv round` ended: ``summary`` is its --json, None if it printed none."""

    exit_code: int
    summary: dict | None
    said: str
    wall_s: float
    events: list


def faulty_study(rounds, hospitals=None):
    """A is the largest. One may drop out. There is so much noise that epsilon is no limit here."""
    study = small_study(rounds=rounds)
    study = msgspec.structs.replace(study, hospitals=hospitals or {"A": 40, "B": 24, "C": 24})
    return study.with_noise_multiplier(200.0)


class FaultyFederation(LocalFederation):
    """See the module; `make` builds one, a context starts and ends it."""

    @classmethod
    def make(cls, folder, study, *, parameters, deadlines=DEADLINES):
        """Homes, keys and wires below the new ``folder``."""
        folder.mkdir(parents=True)
        undo = contextlib.ExitStack()
        with undo:
            homes = [folder / "coordinator", *(folder / f"hospital-{name}" for name in study.names)]
            for home in homes:
                _small_disk(home, undo)
            _small_disk(folder / "coordinator" / "flower", undo)
            images = folder / "images"
            images.mkdir()
            datasets = {name: Dataset(name=f"smears-{name}", images=str(images)) for name in study.names}
            made = found(folder, study, datasets, deadlines, host=ADDRESS)
            federation = cls(made.coordinator, made.nodes, made.study_path)
            federation.parameters, federation.study, federation.deadlines = parameters, study, deadlines
            federation._lay_wires(undo)
            federation._plant(folder)
            federation._build_clocks(folder)
            first = np.zeros(parameters, np.float32)
            federation.run = new_run(federation.coordinator.runs_folder, study, first)
            federation._undo = undo.pop_all()
        return federation

    def close(self):
        """Stop every process and give back disks, wires and namespaces."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
        self.stop()
        self._undo.close()

    def __exit__(self, *_error):
        self.close()

    # Where and how processes run.

    def command(self, name, arguments):
        program = [sys.executable, "-m", "fedpriv"]
        if name in self.nodes:
            program = [sys.executable, str(HERE / "planted.py"), str(self._updates[name][1])]
        shift = ["env", f"LD_PRELOAD={self._shim}", f"FEDPRIV_TEST_CLOCK={self._clock_file(name)}"]
        bare = [part for key in os.environ if "proxy" in key.lower() for part in ("-u", key)]
        return self.hosts[name].command(shift[0], *bare, *shift[1:], *program, *arguments)

    def wait_for(self, name, words, since=0):
        """Wait until the process of ``name`` printed ``words`` beyond byte ``since`` of its log."""
        _wait(lambda: words in self.said(name, since), f"{name} did not say {words!r}")

    def log(self, name):
        return self.study_path.parent / f"output-{name}.log"  # what is said outlives a home that is spoiled

    def said(self, name, since=0):
        """What the process of ``name`` printed beyond byte ``since``."""
        log = self.log(name)
        return log.read_bytes()[since:].decode(errors="replace") if log.exists() else ""

    def length(self, name):
        """How much the process of ``name`` has printed so far, in bytes."""
        return len(self.said(name).encode())

    def bring_up(self, name):
        """Start hospital ``name`` and wait until it is connected."""
        since = self.length(name)
        self.start_node(name)
        self.wait_for(name, "connected to", since)

    def start(self):
        self.start_coordinator()
        for name in self.nodes:
            self.start_node(name)
        for name in self.nodes:
            self.wait_for(name, "connected to")

    @property
    def superlink(self):
        """Flower's process, a child of the one that keeps the door open."""
        (child,) = psutil.Process(self.processes["coordinator"].pid).children()
        return child

    def rounds(self, *arguments, observe=lambda event, command: None, limit_s=COMMAND_LIMIT_S):
        """Run `fedpriv round` for this federation's run; ``observe`` may act at each event."""
        events_read, events_write = os.pipe()
        leave_read, leave_write = os.pipe()
        home = str(self.coordinator.folder)
        line = self.command("coordinator", ["round", "--home", home, "--resume", self.run.folder.name])
        at = line.index("-m")
        line[at : at + 2] = [str(HERE / "told_round.py"), str(events_write), str(leave_read)]
        began = time.monotonic()
        command = subprocess.Popen(
            [*line, "--json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(events_write, leave_read),
            start_new_session=True,
            text=True,
        )
        os.close(events_write)
        os.close(leave_read)
        events = []
        limit = threading.Timer(limit_s, command.kill)  # one that hangs ends with code -9
        limit.start()
        try:
            for event in _lines(events_read):
                events.append(event)
                observe(event, command)
                with contextlib.suppress(BrokenPipeError):
                    os.write(leave_write, b".")
            output, said = command.communicate()
        finally:
            limit.cancel()
            os.close(events_read)
            os.close(leave_write)
            if command.poll() is None:
                command.kill()
                command.wait()
        summary = json.loads(output) if output.strip() else None
        return Outcome(command.returncode, summary, said, time.monotonic() - began, events)

    def set_deadlines(self, deadlines):
        """What the next `fedpriv round` reads in coordinator.toml."""
        path = self.coordinator.folder / "coordinator.toml"
        config = msgspec.structs.replace(self.coordinator.config, deadlines=deadlines)
        path.write_text(dump_toml(config))

    def home_of(self, who, victim):
        """The folder, a disk of its own, that ``who`` of the matrix lives in."""
        if who == "node":
            return self.nodes[victim].folder
        return self.coordinator.flower_folder if who == "superlink" else self.coordinator.folder

    def wait_for_traffic(self, line):
        """Wait until more arrives through ``line`` than was on its way when it healed."""
        before = line.carried
        _wait(lambda: line.carried >= before + 40, "nothing came through a healed line")

    # What is spoiled.

    def set_clock(self, name, shift_s):
        """Move the clock of ``name`` so many seconds away from the true one."""
        self._clock_file(name).write_bytes(struct.pack("q", shift_s))

    def fill_disk(self, folder):
        """Leave no byte free on the disk of ``folder``; `empty_disk` undoes it."""
        with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def empty_disk(self, folder):
        """Make room again."""
        (folder / "filler").unlink(missing_ok=True)

    # What must hold at any moment.

    def problems(self):
        """Whatever is wrong with journals, budgets and sums; empty if all is well."""
        found = []
        run = open_run(self.run.folder)
        charged = charged_rounds(run)
        for name, node in self.nodes.items():
            rows = read_journal(node.folder, node.identity().signing_public_key)  # raises if it is corrupt
            mine = [row.event for row in rows if getattr(row.event, "run", None) == run.run]
            reserved = [event.round for event in mine if isinstance(event, Reserve)]
            released = [event.round for event in mine if isinstance(event, Release)]
            if len(set(reserved)) < len(reserved):
                found.append(f"{name} was charged twice for a round: {sorted(reserved)}")
            if unpaid := sorted(set(released) - set(reserved)):
                found.append(f"{name} released what it did not charge: {unpaid}")
            summed = {line.round for line in run.completed() if name in line.cohort}
            if unknown := sorted(summed - set(released)):
                found.append(f"{name} is in the sums {unknown} and its journal knows nothing of it")
            if len(reserved) > charged:
                found.append(f"the run counts {charged} charged rounds, {name} {len(reserved)}")
        found += self._wrong_sum(run)
        return found

    def _wrong_sum(self, run):
        """The model is the sum of what was planted, over the complete rounds, or it is said which is not."""
        expected = np.zeros(self.parameters)
        complete = run.completed()
        for line in complete:
            present = sum(self.study.hospitals[name] for name in line.cohort)
            total = sum(self._updates[name][0] for name in line.cohort)
            expected += total / (present / self.study.units)
        step = 2 * self.study.update_range / (2**self.study.secure_aggregation.bits - 1)
        allowed = (len(complete) + 1) * len(self.nodes) * 2 * step + 1e-4
        off = float(np.abs(run.latest_vector() - expected).max())
        return [f"the model is off by {off:.3g}, allowed {allowed:.3g}"] if off > allowed else []

    # Building.

    def _lay_wires(self, undo):
        self.hosts = {"coordinator": wire.Host()}
        undo.callback(self.hosts["coordinator"].close)
        self.wires = {}
        for number, name in enumerate(self.nodes, start=1):
            host = wire.Host()
            undo.callback(host.close)
            self.hosts[name] = host
            line = wire.Wire(self.hosts["coordinator"], ADDRESS, host, f"10.77.{number}.2", f"wire{number}")
            undo.callback(line.close)
            self.wires[name] = line

    def _plant(self, folder):
        self._updates = {}
        for number, name in enumerate(self.nodes):
            generator = np.random.default_rng(number)
            update = generator.uniform(-0.01, 0.01, self.parameters).astype(np.float32)
            path = folder / f"update-{name}.npy"
            np.save(path, update)
            self._updates[name] = (update.astype(np.float64), path)

    def _build_clocks(self, folder):
        self._shim = folder / "clock.so"
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", self._shim, HERE / "clock.c", "-ldl"], check=True
        )
        for name in self.hosts:
            self.set_clock(name, 0)

    def _clock_file(self, name):
        return self.study_path.parent / f"clock-{name}"


def _small_disk(folder, undo):
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={HOME_BYTES}", "none", folder], check=True)
    undo.callback(subprocess.run, ["umount", "--lazy", folder], check=True)


def _lines(descriptor):
    """Each JSON line that arrives, until the other end is closed."""
    rest = b""
    while True:
        select.select([descriptor], [], [])
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield json.loads(line)


def _wait(condition, otherwise):
    give_up = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError(otherwise)
        time.sleep(_LOOK_S)
