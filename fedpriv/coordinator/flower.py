"""The coordinator's side of the link: one Flower run without code, and messages under our own deadlines.

flwr's grid sleeps for seconds, retries without end and waits up to two hours for a reply that was announced
but never pushed. Here every call is bounded, and a reply is fetched piece by piece beside all the others:
one hospital that dies in the middle of its upload delays nobody.
flwr promises nothing of what is used here (see `fedpriv.flower_wire`).
"""

from __future__ import annotations

from fedpriv import flower_wire  # isort: skip - before flwr and gRPC

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import grpc
from flwr.common import Message
from flwr.common.constant import Status
from flwr.common.grpc import create_channel
from flwr.common.retry_invoker import RetryInvoker, exponential, wrap_stub
from flwr.common.serde import message_to_proto, recorddict_from_proto
from flwr.proto.appio_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.run_pb2 import RunStatus, UpdateRunStatusRequest
from flwr.proto.serverappio_pb2_grpc import ServerAppIoStub
from flwr.server.grid.grpc_grid import GrpcGrid
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedpriv.coordinator.control import Control, Members
from fedpriv.coordinator.exchange import Announcement, Arrival, Exchange, LossReason, Lost
from fedpriv.errors import RoundFailed, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from flwr.common import RecordDict
    from flwr.proto.message_pb2 import Message as ProtoMessage
    from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

    from fedpriv.secagg.messages import Envelope

_CALL_TIMEOUT_S = 60.0  # none outlives the stage that it is made for
_BATCH = 256  # messages in one call: a body has at most 2 MB and what travels whole 1 MB, a call 2 GB
_LAST_CALL_S = 0.2
_CLAIM_S = 15.0
_FIRST_POLL_S, _LAST_POLL_S = 0.05, 0.15
_LARGEST_REPLY_BYTES = 1 << 30
_PATIENCE_S = 30.0  # a SuperLink needs some 5 s to come back, and twice that if it lost its state

_Item = TypeVar("_Item")

_log = logging.getLogger(__name__)


class FlowerLink:
    """A run on a SuperLink of this machine, from construction to ``close``, or as a context.

    Registers the hospitals (see `Members`). One link at a time: a run that a killed process left behind is
    ended first. A SuperLink that lost its state gets a new run. Unreachable if the SuperLink does not answer.
    """

    def __init__(
        self,
        *,
        control_address: str,
        serverappio_address: str,
        root_certificate: bytes,
        hospitals: Mapping[str, bytes],
        retired: Collection[bytes] = (),
    ) -> None:
        flower_wire.silence_flwr()
        self._members = Members(
            control_address=control_address,
            root_certificate=root_certificate,
            hospitals=hospitals,
            retired=retired,
            patience_s=_PATIENCE_S,
        )
        self._control = Control(control_address, root_certificate, patience_s=0.0)
        self._run_id = 0
        self._grid = _Grid(serverappio_address)
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        self._members.register()
        self._node_of = self._members.node_ids()
        for run_id in self._control.unfinished_runs():
            self._control.stop_run(run_id)
        run_id = self._control.start_run()
        self._grid.deadline = time.monotonic() + _CLAIM_S
        self._grid.claim(run_id)
        self._run_id = run_id

    def online(self) -> set[str]:
        """The hospitals that are connected; one that was killed leaves the set within 60 s."""
        online = self._members.online()
        if self._is_forgotten():
            _log.warning("the SuperLink has lost its state; a new run begins")
            try:
                self._begin()
            except Unreachable:  # it is still starting: whoever waits for hospitals asks again
                return set()
        return online

    def _is_forgotten(self) -> bool:
        """Whether the SuperLink answers and knows nothing of this run."""
        try:
            return self._run_id not in self._control.runs()
        except Unreachable:
            return False

    def ask(
        self, requests: Mapping[str, Envelope], deadline_s: float
    ) -> Iterator[tuple[str, Envelope | Lost]]:
        """Send each hospital its request; yield each one's reply or loss as soon as it is known.

        Ends when every hospital was yielded once, about ``deadline_s`` seconds from now at the latest. Only a
        reply of the hospital's own node to this very message counts. A SuperLink that is away is waited for;
        one that lost its state can ask nobody. RoundFailed if somebody else ended the run.
        """
        self._grid.deadline = time.monotonic() + deadline_s
        exchange = Exchange(self._grid, self._node_of, requests, self._grid.deadline)
        pause_s = _FIRST_POLL_S
        while not exchange.finished:
            try:
                for name, answer in exchange.advance():
                    yield name, answer
                    pause_s = _FIRST_POLL_S
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                    hint = "run one `fedpriv round` at a time"
                    raise RoundFailed("the run was ended from outside", hint=hint) from error
                self._grid.close()  # the next call connects anew, without gRPC's own long back-off
                if error.code() is grpc.StatusCode.UNKNOWN and self._is_forgotten():
                    yield from exchange.give_up(LossReason.FORGOTTEN)
                    return
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _LAST_POLL_S)

    def close(self) -> None:
        """End the run: its messages are deleted and late replies refused. Closing twice is harmless."""
        self._grid.close()
        try:
            if self._run_id in self._control.unfinished_runs():
                self._control.stop_run(self._run_id)
        except Unreachable as error:
            _log.warning("the run was left open, the next one ends it: %s", error.message)


class _OneTry(RetryInvoker):
    """In place of flwr's endless retries: one call that ends by ``deadline`` (monotonic s) at the latest."""

    def __init__(self) -> None:
        super().__init__(exponential, grpc.RpcError, max_tries=1, max_time=None)
        self.deadline = math.inf

    def invoke(self, target: Callable[..., Any], *args: object, **kwargs: object) -> object:
        left_s = self.deadline - time.monotonic()
        return target(*args, timeout=min(max(left_s, _LAST_CALL_S), _CALL_TIMEOUT_S), **kwargs)


class _Grid(GrpcGrid):
    """flwr's grid for sending; replies are looked at and fetched without ever waiting for a hospital."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._retry_invoker = self._one_try = _OneTry()
        self._run_id = 0

    @property
    def deadline(self) -> float:
        """When every call is over, in monotonic seconds: a SuperLink that hangs holds up no stage."""
        return self._one_try.deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._one_try.deadline = deadline

    def _connect(self) -> None:
        # As flwr's, but without its watcher of the channel's state, which is only for its log: gRPC prints a
        # traceback from the watcher's thread if the channel is closed soon after.
        self._channel = create_channel(server_address=self._addr, insecure=True)
        self._grpc_stub = ServerAppIoStub(self._channel)
        wrap_stub(self._grpc_stub, self._retry_invoker)

    def claim(self, run_id: int) -> None:
        """Take the pending run. Without a token it needs no heartbeat, so a long pause does not end it."""
        self._run_id = run_id
        try:
            for status in (Status.STARTING, Status.RUNNING):
                request = UpdateRunStatusRequest(run_id=run_id, run_status=RunStatus(status=status))
                self._stub.UpdateRunStatus(request)
            self.set_run(run_id)
        except grpc.RpcError as error:
            raise Unreachable(f"Flower's ServerAppIo API: {error.details()}") from error

    def send(self, mail: Sequence[tuple[int, Envelope]], lifetime_s: float) -> list[str | None]:
        """Send each envelope to its node. Flower drops what is older than ``lifetime_s``."""
        messages = [
            Message(flower_wire.to_content(envelope), node, flower_wire.MESSAGE_TYPE, ttl=lifetime_s)
            for node, envelope in mail
        ]
        return [message_id or None for message_id in self.push_messages(messages)]

    def _try_push_messages(self, run_id: int, messages: Iterable[Message]) -> list[str]:
        """In place of flwr's: what is short travels whole, all of it in one call, and not as objects."""
        messages = list(messages)
        if not all(flower_wire.travels_whole(message.content) for message in messages):
            return super()._try_push_messages(run_id, messages)
        message_ids: list[str] = []
        for batch in _batches(messages):
            request = PushAppMessagesRequest(
                run_id=run_id,
                messages_list=[message_to_proto(message) for message in batch],
                message_object_trees=[ObjectTree(object_id=message.metadata.message_id) for message in batch],
            )
            message_ids += self._stub.PushMessages(request).message_ids
        return message_ids

    def announced(self, message_ids: Iterable[str]) -> list[Announcement]:
        """Replies to these messages, or news that one is lost.

        Flower trips over two replies to one message. Then each is asked for alone, so that a hospital that
        sends two harms itself only: its message counts as lost.
        """
        found: list[Announcement] = []
        for batch in _batches(list(message_ids)):
            try:
                found += self._announced(batch)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNKNOWN:
                    raise
                if len(batch) == 1:
                    found.append(Announcement(batch[0], sender=0, failed=True, arrival=Arrival("")))
                else:
                    found += [news for message_id in batch for news in self.announced([message_id])]
        return found

    def _announced(self, message_ids: list[str]) -> list[Announcement]:
        found = self._stub.PullMessages(PullAppMessagesRequest(message_ids=message_ids, run_id=self._run_id))
        return [
            Announcement(
                answers=message.metadata.reply_to_message_id,
                sender=message.metadata.src_node_id,
                failed=message.HasField("error"),
                arrival=_arrival(message, tree),
            )
            for message, tree in zip(found.messages_list, found.message_object_trees, strict=True)
        ]

    def fetch(self, arrival: Arrival) -> Envelope | Lost | None:
        """Fetch the objects that are there, if it came in objects, and open the reply once all are."""
        while arrival.missing:
            request = PullObjectRequest(node=self.node, run_id=self._run_id, object_id=arrival.missing[-1])
            found = self._stub.PullObject(request)
            if found.object_found and not found.object_available:
                return None
            size = len(found.object_content) + sum(map(len, arrival.pieces.values()))
            if not found.object_found or size > _LARGEST_REPLY_BYTES:
                return Lost(LossReason.MALFORMED)
            arrival.pieces[arrival.missing.pop()] = found.object_content
        self._stub.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self.node, run_id=self._run_id, message_object_id=arrival.message_id
            )
        )
        try:
            return flower_wire.from_content(_content(arrival))
        except Exception as error:  # noqa: BLE001 - flwr's parser on a hospital's bytes
            _log.warning("a reply that is none: %s", type(error).__name__)
            return Lost(LossReason.MALFORMED)


def _batches(items: list[_Item]) -> Iterator[list[_Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _arrival(message: ProtoMessage, tree: ObjectTree) -> Arrival:
    message_id = message.metadata.message_id
    if tree.children:
        return Arrival(message_id, missing=[node.object_id for node in iterate_object_tree(tree)])
    return Arrival(message_id, content=message.content)


def _content(arrival: Arrival) -> RecordDict:
    """Of a reply that is whole; whatever flwr's parser raises on a hospital's bytes."""
    if arrival.content is not None:
        return recorddict_from_proto(cast("ProtoRecordDict", arrival.content))
    return cast("Message", inflate_object_from_contents(arrival.message_id, arrival.pieces)).content
