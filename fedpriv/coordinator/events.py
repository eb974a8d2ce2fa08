"""What an operator can watch while rounds run: facts that the coordinator may know, as they happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpriv.coordinator.run_folder import RoundEnded
    from fedpriv.secagg.messages import Stage


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next round waits for ``absent`` hospitals to come online."""

    online: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundBegan:
    """``hospitals`` are online and invited to ``round``; ``position`` of ``count`` in this command."""

    round: int
    position: int
    count: int
    hospitals: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageBegan:
    """A request of ``stage`` went to each of ``asked``."""

    round: int
    stage: Stage
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageOver:
    """Everybody asked has answered ``stage`` or is out; ``seconds`` of wall time, bytes of whole messages."""

    round: int
    stage: Stage
    seconds: float
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True, slots=True)
class HospitalAnswered:
    """``name`` answered ``stage`` with a message that the protocol accepts."""

    round: int
    stage: Stage
    name: str


@dataclass(frozen=True, slots=True)
class HospitalDropped:
    """``name`` is out of ``round`` from ``stage`` on; ``reason`` is a phrase that may name hospitals."""

    round: int
    stage: Stage
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class RoundOver:
    """The line that was recorded, and epsilon composed over every round charged so far (None: no noise)."""

    ended: RoundEnded
    epsilon: float | None


Event = Waiting | RoundBegan | StageBegan | StageOver | HospitalAnswered | HospitalDropped | RoundOver
Observer = Callable[[Event], None]
