"""The coordinator's open door: a SuperLink that hospitals connect to, for as long as the operator wants."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.coordinator.flower import Members
from fedpriv.coordinator.run_folder import RoundEnded, open_run
from fedpriv.coordinator.superlink import Addresses, SuperLink, TlsFiles
from fedpriv.errors import Unreachable
from fedpriv.identity import tls

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from fedpriv.coordinator.home import CoordinatorHome

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How far a run is, and how it ended the last time it was asked for a round."""

    name: str
    study: str
    completed: int
    planned: int
    failed: int


@dataclass(frozen=True, slots=True)
class Status:
    """What an operator wants to know at a glance; ``online`` is None while the door is closed."""

    address: str
    online: dict[str, bool] | None
    runs: list[RunSummary]


def superlink(home: CoordinatorHome) -> SuperLink:
    """A SuperLink for ``home``, not yet started."""
    listen = home.config.listen
    return SuperLink(
        home.flower_folder,
        Addresses(fleet=listen.fleet, serverappio=listen.serverappio, control=listen.control),
        TlsFiles(
            certificate=home.tls_folder / tls.SERVER_CERTIFICATE_FILE,
            key=home.tls_folder / tls.SERVER_KEY_FILE,
            authority=home.tls_folder / tls.CA_CERTIFICATE_FILE,
        ),
    )


def members(home: CoordinatorHome) -> Members:
    """The hospitals of the roster as the SuperLink knows them."""
    roster = home.roster()
    return Members(
        control_address=home.config.listen.control,
        root_certificate=roster.coordinator.ca_certificate.encode(),
        hospitals={member.name: member.link_key for member in roster.hospitals},
    )


def keep_open(home: CoordinatorHome, say: Callable[[str], None]) -> None:
    """Run a SuperLink until SIGINT or SIGTERM; ``say`` hears who comes and goes.

    Unreachable if the SuperLink ends by itself.
    """
    known = members(home)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with superlink(home) as link:
        known.register()
        say(f"open for {len(known.names)} hospitals at {home.config.listen.fleet} (Ctrl-C closes)")
        before: set[str] = set()
        while not stop.wait(_LOOK_S):
            if link.process_id is None:
                raise Unreachable("Flower's SuperLink ended by itself", hint=f"see {link.log}")
            try:
                now = known.online()
            except Unreachable:
                continue  # a busy moment; the process is alive
            for name in sorted(now - before):
                say(f"{name} came online")
            for name in sorted(before - now):
                say(f"{name} went offline")
            before = now
    say("closed")


def status(home: CoordinatorHome) -> Status:
    """Whether the door is open, who is online, and how far each run is."""
    known = members(home)
    try:
        online = known.online()
    except Unreachable:
        presence = None
    else:
        presence = {name: name in online for name in known.names}
    folders = sorted(home.runs_folder.glob("*/")) if home.runs_folder.exists() else []
    return Status(home.config.listen.fleet, presence, [_summary(folder.name, home) for folder in folders])


def _summary(name: str, home: CoordinatorHome) -> RunSummary:
    run = open_run(home.runs_folder / name)
    ended = [line for line in run.lines() if isinstance(line, RoundEnded)]
    completed = sum(line.outcome == "complete" for line in ended)
    return RunSummary(
        name=name,
        study=run.study.study.name,
        completed=completed,
        planned=run.study.training.rounds,
        failed=len(ended) - completed,
    )
