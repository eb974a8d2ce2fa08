"""A coordinator and its hospitals on one machine, as an operator and admins would set them up.

Everything is real: homes made by the same functions as the commands use, fresh keys, TLS on loopback, one
process each. Only the phone calls of the ceremony are missing, since everybody is the same person.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from fedpriv.coordinator import home as coordinator_homes
from fedpriv.coordinator.superlink import free_ports
from fedpriv.errors import FedprivError, HomeError, Unreachable
from fedpriv.identity import enrolment
from fedpriv.identity.countersigning import countersign, with_countersignatures
from fedpriv.identity.roster import dump_roster
from fedpriv.node import home as node_homes
from fedpriv.node.export import export_for
from fedpriv.node.pinning import pin
from fedpriv.node.policy import Policy
from fedpriv.study import Study, dump_study
from fedpriv.toml_files import write_new_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from fedpriv.coordinator.home import CoordinatorHome
    from fedpriv.node.home import NodeHome

_COORDINATOR = "coordinator"
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 15.0
_LOOK_S = 0.1
_OPEN_LINE = b"open for "  # what `fedpriv coordinator start` prints once hospitals can call


class LocalFederation:
    """The processes of one federation; use as a context, then `start` whom you want."""

    def __init__(self, coordinator: CoordinatorHome, nodes: Mapping[str, NodeHome], study_path: Path) -> None:
        self.coordinator = coordinator
        self.study_path = study_path
        self.nodes = dict(nodes)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.options: tuple[str, ...] = ()
        """Of every process that is started from now on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_coordinator(self) -> None:
        """Open the door and wait until it is open; Unreachable with the last words of the log if it fails."""
        folder = self.coordinator.folder
        log = self.log(_COORDINATOR)
        said_before = log.stat().st_size if log.exists() else 0
        self._spawn(_COORDINATOR, ["coordinator", "start", "--home", str(folder)])
        deadline = time.monotonic() + _START_TIMEOUT_S
        # A port that answers is not enough: Flower must have made its tables before anybody else calls.
        while _OPEN_LINE not in log.read_bytes()[said_before:]:
            self.check_alive(_COORDINATOR)
            if time.monotonic() > deadline:
                raise Unreachable("the coordinator did not open its door in time", hint=f"see {log}")
            time.sleep(_LOOK_S)

    def start_node(self, name: str) -> None:
        """Start the process of hospital ``name``; it comes online by itself."""
        folder = self.nodes[name].folder
        self._spawn(name, ["node", "start", "--home", str(folder)])

    def start(self) -> None:
        """Start the coordinator, then every hospital."""
        self.start_coordinator()
        for name in self.nodes:
            self.start_node(name)

    def stop(self) -> None:
        """Stop whatever runs, hospitals first; whoever does not leave in time is killed."""
        for name in [*self.nodes, _COORDINATOR]:
            process = self.processes.get(name)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check_alive(self, *names: str) -> None:
        """FedprivError with the last words of its log if the process of one of ``names`` has ended."""
        for name in names:
            process = self.processes[name]
            if process.poll() is not None:
                words = self.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = "; ".join(words[-2:]) or "without a word"
                raise FedprivError(f"the process of {name} ended with code {process.returncode}: {last}")

    def exports(self, run: bytes) -> dict[str, bytes]:
        """What each hospital's admin would send of its journal for the auditors of ``run``."""
        return {name: export_for(node, run) for name, node in self.nodes.items()}

    def log(self, name: str) -> Path:
        """What the process of ``name`` printed."""
        home = self.coordinator if name == _COORDINATOR else self.nodes[name]
        return home.folder / "output.log"

    def command(self, name: str, arguments: list[str]) -> list[str]:  # noqa: ARG002 - a test may need the name
        """The command line by which ``name`` runs ``fedpriv`` with ``arguments``."""
        return [sys.executable, "-m", "fedpriv", *arguments]

    def _spawn(self, name: str, arguments: list[str]) -> None:
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name, [*arguments, *self.options]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only us; the others are then stopped in order
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )


def found(
    folder: Path,
    study: Study,
    images: Mapping[str, node_homes.Dataset],
    deadlines: coordinator_homes.Deadlines | None = None,
    host: str = coordinator_homes.LOOPBACK,
) -> LocalFederation:
    """Hold the whole ceremony in ``folder``, from keys to a pinned roster, and approve ``study``.

    ``images`` gives each hospital of the study its dataset; ``host`` is where hospitals find the coordinator.
    """
    ports = free_ports(3)
    serverappio, control = (f"{coordinator_homes.LOOPBACK}:{port}" for port in ports[1:])
    fleet = f"{host}:{ports[0]}"
    coordinator = coordinator_homes.init_home(
        folder / _COORDINATOR,
        name=_COORDINATOR,
        hosts=("localhost", coordinator_homes.LOOPBACK, host),
        listen=coordinator_homes.Listen(fleet=fleet, serverappio=serverappio, control=control),
        deadlines=deadlines or coordinator_homes.Deadlines(),
    )
    privacy = study.privacy
    policy = Policy(
        smallest_cohort=study.secure_aggregation.smallest_cohort,
        largest_epsilon=privacy.epsilon,
        largest_delta=privacy.delta,
        colluders=study.secure_aggregation.colluders,
        noise=(privacy.noise,),
    )
    nodes = {
        name: node_homes.init_home(
            folder / f"hospital-{name}",
            node_homes.Config(name=name, coordinator=fleet, dataset=images[name], policy=policy),
        )
        for name in study.names
    }
    requests = [enrolment.new_request(node.identity()) for node in nodes.values()]
    draft = enrolment.collect(study.study.name, coordinator.operator(), requests)
    members = [coordinator.identity(), *(node.identity() for node in nodes.values())]
    roster = with_countersignatures(draft, [countersign(draft, member) for member in members])
    write_new_file(coordinator.roster_path, dump_roster(roster), HomeError)
    for node in nodes.values():
        pin(node.folder, roster, dt.datetime.now(dt.UTC))
    study_path = folder / "study.toml"
    write_new_file(study_path, dump_study(study), HomeError)
    for node in nodes.values():
        with node.open_journal() as journal:
            node.approve(journal, study_path)
    return LocalFederation(coordinator, nodes, study_path)
