"""One attempt at one round: the masked sum's state machine driven over a link, stage by stage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol

from fedpriv.coordinator import events
from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, RoundEnded
from fedpriv.secagg.messages import Envelope, Stage
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.terms import model_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fedpriv.coordinator.exchange import Lost
    from fedpriv.coordinator.home import Deadlines
    from fedpriv.coordinator.server_step import Progress
    from fedpriv.secagg.coordinator import CoordinatorRound


class Link(Protocol):
    """What rounds need of the transport; `fedpriv.coordinator.flower.FlowerLink` is the real one."""

    def online(self) -> set[str]:
        """The hospitals that are connected."""

    def ask(
        self, requests: Mapping[str, Envelope], deadline_s: float
    ) -> Iterator[tuple[str, Envelope | Lost]]:
        """Send each hospital its request; yield each one's reply or loss as soon as it is known."""


class Attempt:
    """One round, from the invitations to ``online`` hospitals to the receipts.

    `run` opens the sum; only what `ended` gives, once it is on disk, allows `send_receipts`.
    """

    def __init__(
        self,
        *,
        machine: CoordinatorRound,
        link: Link,
        deadlines: Deadlines,
        online: set[str],
        observe: events.Observer,
    ) -> None:
        self._machine = machine
        self._link = link
        self._deadlines = deadlines
        self._online = online
        self._observe = observe
        self._dropped: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._asked_to_train: tuple[str, ...] = ()
        self._receipts: Mapping[str, Envelope] = {}

    def run(
        self,
        vector: NDArray[np.float32],
        move: Callable[[NDArray[np.int64], tuple[str, ...]], Progress],
    ) -> Progress:
        """Drive all stages but the last from the model ``vector``; ``move`` takes the sum and who is in it.

        RoundFailed if the sum could not be opened; then nothing of it was learned.
        """
        machine = self._machine
        requests = machine.open(vector.astype("<f4").tobytes())
        self._exchange({name: request for name, request in requests.items() if name in self._online})
        while machine.stage is not Stage.UNMASK:
            requests = machine.advance()
            if machine.stage is Stage.UPLOAD:
                self._asked_to_train = tuple(requests)
            self._exchange(requests)
        total = machine.total()
        for name, owners in machine.unfit_shares.items():
            self._drop(Stage.UNMASK, name, _unfit(owners))
        moved = move(total, machine.record.survivors)
        self._receipts = machine.close(_digest(moved.vector), _digest(moved.published))
        return moved

    def send_receipts(self) -> None:
        """CLOSE: give each hospital the receipt of the round, which must be recorded as complete before."""
        self._dropped, self._seconds = {}, {}
        self._exchange(self._receipts)

    def acknowledged(self) -> ReceiptsAcknowledged:
        """The line to record of what `send_receipts` came to, as far as it went."""
        number = self._machine.terms.round
        return ReceiptsAcknowledged(number, self._machine.closed, self._dropped, self._seconds)

    def ended(
        self,
        outcome: Literal["complete", "failed"],
        *,
        reason: str,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
    ) -> RoundEnded:
        """The line to record."""
        record = self._machine.record
        return RoundEnded(
            round=record.round,
            outcome=outcome,
            cohort=record.survivors if outcome == "complete" else (),
            dropped=self._dropped,
            asked_to_train=self._asked_to_train,
            reason=reason,
            model_before=_digest(before).hex(),
            model_after=_digest(after).hex(),
            seconds=self._seconds,
            record=record,
        )

    def _exchange(self, requests: Mapping[str, Envelope]) -> None:
        machine, stage = self._machine, self._machine.stage
        number = machine.terms.round
        self._observe(events.StageBegan(number, stage, tuple(requests)))
        began, received = time.monotonic(), 0
        trains = stage is Stage.UPLOAD
        deadline_s = self._deadlines.training_s if trains else self._deadlines.answer_s
        try:
            for name, answer in self._link.ask(requests, deadline_s):
                if not isinstance(answer, Envelope):
                    self._drop(stage, name, answer.reason)
                    continue
                received += _size(answer)
                try:
                    machine.receive(name, answer)
                except RuleBroken as error:
                    self._drop(stage, name, _phrase(error.code))
                else:
                    self._observe(events.HospitalAnswered(number, stage, name))
        finally:
            seconds = round(time.monotonic() - began, 3)
            self._seconds[stage.name.lower()] = seconds
            sent = sum(map(_size, requests.values()))
            self._observe(events.StageOver(number, stage, seconds, sent, received))

    def _drop(self, stage: Stage, name: str, reason: str) -> None:
        self._dropped[name] = f"{stage.name.lower()}: {reason}"
        self._observe(events.HospitalDropped(self._machine.terms.round, stage, name, reason))


def _size(envelope: Envelope) -> int:
    return len(envelope.body) + len(envelope.vector)


def _digest(vector: NDArray[np.float32]) -> bytes:
    return model_digest(vector.astype("<f4").tobytes())


def _unfit(owners: list[str]) -> str:
    first, *others = owners
    return f"its share of {first} does not fit" + (f", nor {len(others)} more" if others else "")


def _phrase(code: RefusalCode) -> str:
    return code.name.lower().replace("_", " ")
