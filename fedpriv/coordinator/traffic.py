"""How many bytes the exchanges of all rounds had so far, by stage and direction, over restarts.

``traffic.json`` in the coordinator's home. It is a convenience for whoever watches: a disk that takes no more
loses counts, not rounds.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import msgspec

from fedpriv.coordinator.events import Event, StageOver
from fedpriv.errors import HomeError
from fedpriv.toml_files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

Direction = Literal["sent", "received"]
Bytes = dict[str, dict[Direction, int]]


class Traffic:
    """Counts what it observes on top of what the file has; one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = traffic_of(path)

    def observe(self, event: Event) -> None:
        """Add the bytes of a stage that is over, and keep the sums."""
        if not isinstance(event, StageOver):
            return
        counts = self._bytes.setdefault(event.stage.name.lower(), {"sent": 0, "received": 0})
        counts["sent"] += event.bytes_sent
        counts["received"] += event.bytes_received
        with contextlib.suppress(HomeError):
            replace_file(self._path, msgspec.json.encode(self._bytes), HomeError)


def traffic_of(path: Path) -> Bytes:
    """The sums so far by stage; empty where there are none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bytes)
    except (OSError, msgspec.MsgspecError):
        return {}
