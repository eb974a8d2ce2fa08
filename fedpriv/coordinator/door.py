"""The door that stays open: a SuperLink, who comes and goes, and what monitors may read of it."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from typing import TYPE_CHECKING

from fedpriv import logs
from fedpriv.backoff import Backoff
from fedpriv.coordinator import service
from fedpriv.coordinator.run_folder import RunFolder, open_run
from fedpriv.errors import FedprivError, HomeError, Unreachable
from fedpriv.metrics import served
from fedpriv.pulse import Heart, Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fedpriv.coordinator.control import Members
    from fedpriv.coordinator.home import CoordinatorHome
    from fedpriv.coordinator.superlink import SuperLink
    from fedpriv.logs import Log

_LOOK_S = 1.0
_SILENT_S = 30.0
_STARTS_IN_A_ROW = 5
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0

_log = logging.getLogger(__name__)


def keep_open(home: CoordinatorHome, log: Log) -> None:
    """Run a SuperLink until SIGINT or SIGTERM; ``log``, kept in the home once it is open, hears who comes.

    A SuperLink that ends by itself is started again: hospitals come back, and a round in progress goes on.
    Unreachable or HomeError if it does not start, the first time or `_STARTS_IN_A_ROW` times.
    """
    known = service.members(home)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    door = _Door(home.config.listen.fleet, known.names)
    with contextlib.ExitStack() as exits:
        link = exits.enter_context(service.superlink(home))
        known.register()
        exits.enter_context(_metrics_of(home, door))
        exits.enter_context(Heart(home.pulse_path, door.pulse))
        log.keep_in(home.logs_folder / "coordinator.log")
        words = f"open for {len(known.names)} hospitals at {home.config.listen.fleet} (Ctrl-C closes)"
        logs.event(_log, "open", words)
        while not stop.wait(_LOOK_S):
            if link.process_id is None:
                words = f"Flower's SuperLink ended by itself (see {link.log}); starting it again"
                logs.event(_log, "superlink_ended", words, level=logging.WARNING)
                known = _start_again(link, home, stop) or known
                continue
            with contextlib.suppress(Unreachable):  # a busy moment; the process is alive
                door.look(known.online())
            link.bound_log()
    logs.event(_log, "closed", "closed")


def _start_again(link: SuperLink, home: CoordinatorHome, stop: threading.Event) -> Members | None:
    """Start ``link`` after it ended, with pauses between tries; its last error if it does not come up.

    Gives the hospitals of the roster that is in force now; None if ``stop`` was set first.
    """
    backoff = Backoff(_FIRST_PAUSE_S, _LAST_PAUSE_S)
    for _ in range(_STARTS_IN_A_ROW - 1):
        if stop.wait(backoff.pause_s()):
            return None
        with contextlib.suppress(Unreachable, HomeError):
            return _start(link, home)
    return _start(link, home)


def _start(link: SuperLink, home: CoordinatorHome) -> Members:
    """Start ``link``, and let everybody connect: its state may be a new one."""
    link.start()
    try:
        known = service.members(home)
        known.register()
    except FedprivError:
        link.stop()
        raise
    return known


class _Door:
    """Who of ``names`` is online at the open ``address``, and when the SuperLink said so last."""

    def __init__(self, address: str, names: tuple[str, ...]) -> None:
        self._address = address
        self._online = dict.fromkeys(names, False)
        self._answered_s = time.monotonic()

    def look(self, online: set[str]) -> None:
        """Take note of who is ``online`` now, and log who came and went."""
        self._answered_s = time.monotonic()
        before, self._online = self._online, {name: name in online for name in self._online}
        for name, there in self._online.items():
            if there and not before[name]:
                logs.event(_log, "hospital_online", f"{name} came online", hospital=name)
            if before[name] and not there:
                logs.event(_log, "hospital_offline", f"{name} went offline", hospital=name)

    def online(self) -> dict[str, bool]:
        """Each hospital, and whether it is connected."""
        return self._online

    def pulse(self) -> Pulse:
        """Well while the SuperLink answers."""
        silent_s = time.monotonic() - self._answered_s
        if silent_s > _SILENT_S:
            return Pulse(well=False, state="silent", says=f"the SuperLink is silent for {silent_s:.0f} s")
        there = sum(self._online.values())
        says = f"open at {self._address}, {there} of {len(self._online)} hospitals online"
        return Pulse(well=True, state="open", says=says)


@contextlib.contextmanager
def _metrics_of(home: CoordinatorHome, door: _Door) -> Iterator[None]:
    if home.config.metrics is None:
        yield
        return
    from fedpriv.coordinator.metrics import CoordinatorMetrics

    def runs() -> list[RunFolder]:
        return [open_run(home.runs_folder / name) for name in service.run_names(home)]

    metrics = CoordinatorMetrics(home, runs, door.online)
    with served(home.config.metrics, metrics.look):
        yield
