"""What a hospital's node is doing, in one word, for whoever looks at it from outside.

    registered     keys are made; no roster is pinned, or no study approved yet
    configured     all is there; the process does not run, or is still loading its images
    unreachable    it runs; the coordinator does not answer, or is not the one of the roster
    idle           it is connected, and waits for what a round asks next
    training       it was asked to train and has not sent its update yet
    refused        the coordinator does not let it in, or it refused what it was asked last

The journal says what was decided, the pulse of the process (`fedpriv.pulse`) what it is at.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from fedpriv.node.events import Approve, Pin, Refuse
from fedpriv.node.state import NodeState
from fedpriv.secagg.refusal import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.node.chain import Row
    from fedpriv.pulse import Pulse


class Doing(StrEnum):
    """The words above."""

    REGISTERED = "registered"
    CONFIGURED = "configured"
    UNREACHABLE = "unreachable"
    IDLE = "idle"
    TRAINING = "training"
    REFUSED = "refused"


class Told(NamedTuple):
    """A word, and what to know about it."""

    doing: Doing
    detail: str


_OF_PROCESS = {
    NodeState.LOADING: Doing.CONFIGURED,
    NodeState.CONNECTING: Doing.UNREACHABLE,
    NodeState.LOST: Doing.UNREACHABLE,
    NodeState.UNTRUSTED: Doing.UNREACHABLE,
    NodeState.REFUSED: Doing.REFUSED,
    NodeState.TRAINING: Doing.TRAINING,
    NodeState.ANSWERING: Doing.IDLE,
    NodeState.IDLE: Doing.IDLE,
}


def told(rows: Sequence[Row], pulse: Pulse | None, *, running: bool) -> Told:
    """What the node with these journal ``rows`` does.

    ``pulse`` is its process's, None if it has none; ``running``: some process holds the journal.
    """
    if not any(isinstance(row.event, Pin) for row in rows):
        return Told(Doing.REGISTERED, "no roster is pinned yet: fedpriv keys roster FILE --pin")
    if not any(isinstance(row.event, Approve) for row in rows):
        return Told(Doing.REGISTERED, "no study is approved yet: fedpriv node approve STUDY")
    if pulse is None and running:
        return Told(Doing.CONFIGURED, "its process is starting, or hangs")
    if pulse is None:
        return Told(Doing.CONFIGURED, "not running: fedpriv node start")
    doing, last = _OF_PROCESS[NodeState(pulse.state)], rows[-1].event
    if doing is Doing.IDLE and isinstance(last, Refuse):
        code = RefusalCode(last.code).name.lower().replace("_", " ")
        return Told(Doing.REFUSED, f"the last request, {code}: {last.reason}")
    return Told(doing, pulse.says)
