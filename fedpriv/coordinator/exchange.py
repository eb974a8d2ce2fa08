"""One request to each of several hospitals and what comes back, under a deadline of our own.

Knows no Flower: a `Post` carries the messages. Nothing here waits, so one hospital that is slow, silent or
dies in the middle of its upload delays no other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fedpriv.secagg.messages import Envelope

# A hospital that reconnects is away for at most 4 s: it is asked again that long before it counts as lost.
SENDS = 4
RESEND_PAUSE_S = 2.0


class LossReason(StrEnum):
    """Why there is no reply, as a phrase that follows the hospital's name."""

    DEADLINE = "did not answer in time"
    FORGOTTEN = "cannot be asked: the SuperLink lost its state"
    OFFLINE = "is not connected"
    MALFORMED = "sent something that is no reply"


@dataclass(frozen=True, slots=True)
class Lost:
    """In place of a reply: the hospital is out of this stage."""

    reason: LossReason


@dataclass(slots=True)
class Arrival:
    """A reply that was announced: its ``content`` came along, or pieces of it are ``missing``, by id."""

    message_id: str
    content: object = field(default=None, repr=False)
    missing: list[str] = field(default_factory=list)
    pieces: dict[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Announcement:
    """What came in answer to the message ``answers``: a reply of node ``sender``, or news of its loss."""

    answers: str
    sender: int
    failed: bool
    arrival: Arrival


class Post(Protocol):
    """What carries messages to nodes and back; no method waits for a node."""

    def send(self, mail: Sequence[tuple[int, Envelope]], lifetime_s: float) -> list[str | None]:
        """Send each envelope to its node; the messages' ids, None for a node that was never connected."""

    def announced(self, message_ids: Iterable[str]) -> list[Announcement]:
        """What is new in answer to these messages; each announcement is made only once."""

    def fetch(self, arrival: Arrival) -> Envelope | Lost | None:
        """Fetch what is there of a reply: the reply once it is whole, None before."""


@dataclass(slots=True)
class _Request:
    """One hospital's request and how far it is: due, then in flight, then arriving."""

    name: str
    node: int
    envelope: Envelope
    due: float  # monotonic time of the next send
    sends_left: int = SENDS
    message_id: str | None = None
    arrival: Arrival | None = None


class Exchange:
    """Asks every hospital of ``requests`` and settles each once, at ``deadline`` (monotonic s) at last."""

    def __init__(
        self, post: Post, node_of: Mapping[str, int], requests: Mapping[str, Envelope], deadline: float
    ) -> None:
        now = time.monotonic()
        self._post = post
        self._deadline = deadline
        self._open = {name: _Request(name, node_of[name], request, now) for name, request in requests.items()}

    @property
    def finished(self) -> bool:
        """Whether every hospital is settled."""
        return not self._open

    def advance(self) -> Iterator[tuple[str, Envelope | Lost]]:
        """Do what can be done now and yield the hospitals that this settles; the post's errors pass."""
        if time.monotonic() >= self._deadline:
            yield from self.give_up(LossReason.DEADLINE)
            return
        self._send()
        self._look()
        for request in list(self._open.values()):
            answer = self._answer(request)
            if answer is not None:
                del self._open[request.name]
                yield request.name, answer

    def give_up(self, reason: LossReason) -> Iterator[tuple[str, Lost]]:
        """Settle all that are open: they are lost for this ``reason``."""
        rest, self._open = self._open, {}
        yield from ((name, Lost(reason)) for name in rest)

    def _send(self) -> None:
        now = time.monotonic()
        due = [
            request
            for request in self._open.values()
            if request.message_id is None and request.sends_left and request.due <= now
        ]
        if not due:
            return
        sent = self._post.send([(request.node, request.envelope) for request in due], self._deadline - now)
        for request, message_id in zip(due, sent, strict=True):
            request.sends_left -= 1
            request.message_id = message_id
            request.due = now + RESEND_PAUSE_S

    def _look(self) -> None:
        in_flight = {
            request.message_id: request
            for request in self._open.values()
            if request.message_id is not None and request.arrival is None
        }
        if not in_flight:
            return
        for news in self._post.announced(in_flight):
            request = in_flight[news.answers]
            if news.failed or news.sender != request.node:
                request.message_id = None  # it or its reply is lost on the way, so it becomes due again
                request.due = time.monotonic() + RESEND_PAUSE_S
            else:
                request.arrival = news.arrival

    def _answer(self, request: _Request) -> Envelope | Lost | None:
        if request.arrival is not None:
            return self._post.fetch(request.arrival)
        if request.message_id is None and not request.sends_left:
            return Lost(LossReason.OFFLINE)
        return None
