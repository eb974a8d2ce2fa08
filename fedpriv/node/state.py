"""What a hospital's process is doing, for its admin: the link, and the request it is answering, if any."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from fedpriv.pulse import Pulse
from fedpriv.secagg.messages import Envelope, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fedpriv.node.flower import LinkState

_PULSE_FILE = "node.pulse"


class NodeState(StrEnum):
    """One word for it; the three in the middle can take part in a round."""

    LOADING = "loading"  # images, and TensorFlow
    CONNECTING = "connecting"
    IDLE = "idle"
    ANSWERING = "answering"  # a short message of a round
    TRAINING = "training"
    LOST = "lost"
    REFUSED = "refused"
    UNTRUSTED = "untrusted"


_AT_WORK = (NodeState.IDLE, NodeState.ANSWERING, NodeState.TRAINING)

_SAYS = {
    NodeState.LOADING: "loading its images",
    NodeState.CONNECTING: "calling {address}",
    NodeState.IDLE: "connected to {address}, waiting for rounds",
    NodeState.ANSWERING: "connected to {address}, in a round",
    NodeState.TRAINING: "connected to {address}, training",
    NodeState.LOST: "{address} does not answer; trying again (Ctrl-C stops)",
    NodeState.REFUSED: "{address} does not know this hospital's key, or the two clocks differ; trying again",
    NodeState.UNTRUSTED: "{address} is not the coordinator of the pinned roster; trying again",
}


def pulse_path(home: Path) -> Path:
    """Where the process in ``home`` says how it is (see `fedpriv.pulse`)."""
    return home / _PULSE_FILE


class Activity:
    """Follows a node through its link's changes and the requests that it answers."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._link = NodeState.LOADING
        self._stage: Stage | None = None

    @property
    def state(self) -> NodeState:
        """What it is doing now."""
        if self._stage is None or self._link is not NodeState.IDLE:
            return self._link
        return NodeState.TRAINING if self._stage is Stage.UPLOAD else NodeState.ANSWERING

    def pulse(self) -> Pulse:
        """The same with words, and whether it can take part in a round."""
        state = self.state
        return Pulse(state in _AT_WORK, state, _SAYS[state].format(address=self._address))

    def link_is(self, state: LinkState) -> None:
        """Take note of the link's state."""
        self._link = NodeState.IDLE if state == "connected" else NodeState(state)

    def following(self, handle: Callable[[Envelope], Envelope]) -> Callable[[Envelope], Envelope]:
        """``handle``, with note taken of when it is at work."""

        def answer(request: Envelope) -> Envelope:
            self._stage = request.stage
            try:
                return handle(request)
            finally:
                self._stage = None

        return answer
