"""What a process that stays says of itself every few seconds, so that a health check need not guess.

``NAME.pulse`` in its home: one JSON object, replaced as a whole. It goes when the process ends in order.
After a crash it grows old, as it does when the process is stopped or its disk is full: then whatever it says
does not count. Its age is taken from a clock that nobody can set.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Self

import msgspec

from fedpriv.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

BEAT_S = 5.0
STALE_S = 30.0
"""A process on a busy machine may be late for some beats, and is still alive."""


class Pulse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``state`` is one word of the process's own, ``says`` the same for people.

    ``well``: it can do its work.
    """

    well: bool
    state: str
    says: str


class _Beat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    process_id: int
    monotonic_s: float
    pulse: Pulse


class Heart:
    """Writes what ``look`` gives to ``path`` every 5 s, and when told to `beat`; use as a context."""

    def __init__(self, path: Path, look: Callable[[], Pulse]) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.new")
        self._look = look
        self._stopped = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._go_on, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._draft.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Write now; a disk that takes nothing lets the pulse grow old, which is what it is for."""
        beat = _Beat(os.getpid(), time.monotonic(), self._look())
        with self._writing, contextlib.suppress(OSError):
            self._draft.write_bytes(msgspec.json.encode(beat))
            self._draft.replace(self._path)

    def _go_on(self) -> None:
        self.beat()
        while not self._stopped.wait(BEAT_S):
            self.beat()


def pulse_of(path: Path) -> Pulse | None:
    """The last word of the process that keeps ``path``; None if it ended, or has been silent for 30 s."""
    try:
        beat = msgspec.json.decode(path.read_bytes(), type=_Beat)
    except (OSError, msgspec.MsgspecError):
        return None
    age_s = time.monotonic() - beat.monotonic_s
    return beat.pulse if 0 <= age_s <= STALE_S else None  # less than 0: from before the machine was started


def check(path: Path, who: str) -> Pulse:
    """The pulse in ``path`` if all is well there; otherwise Refused says what is not, of ``who``."""
    pulse = pulse_of(path)
    if pulse is None:
        raise Refused(f"{who} does not run, or has said nothing for {STALE_S:.0f} s")
    if not pulse.well:
        raise Refused(f"{who} is up, but {pulse.says}")
    return pulse
