"""The coordinator's side of the link: one Flower run without code, and messages under our own deadlines.

flwr's grid sleeps for seconds, retries without end and waits up to two hours for a reply that was announced
but never pushed. Here every call is bounded, and a reply is fetched piece by piece beside all the others:
one hospital that dies in the middle of its upload delays nobody.
What is relied on of flwr is no documented API; tests/node/test_flower_contract.py names every piece.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import time
import zipfile
from typing import TYPE_CHECKING, Any, Self, cast

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # flwr reads it once, when it is first imported
os.environ["GRPC_VERBOSITY"] = "NONE"  # what gRPC would print is raised as an error, too
# gRPC would ask a proxy even for loopback. Both sides set the same, so that one process may import both.
os.environ["no_grpc_proxy"] = f"127.0.0.1,localhost,{os.environ.get('no_proxy', '')}"  # noqa: SIM112

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from flwr.common import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import Status
from flwr.common.grpc import create_channel
from flwr.common.retry_invoker import RetryInvoker, exponential, wrap_stub
from flwr.common.serde import message_to_proto, recorddict_from_proto
from flwr.proto.appio_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.control_pb2_grpc import ControlStub
from flwr.proto.fab_pb2 import Fab
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.run_pb2 import RunStatus, UpdateRunStatusRequest
from flwr.proto.serverappio_pb2_grpc import ServerAppIoStub
from flwr.server.grid.grpc_grid import GrpcGrid
from flwr.supercore.constant import NodeStatus
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedpriv.coordinator.exchange import Announcement, Arrival, Exchange, LossReason, Lost
from fedpriv.errors import RoundFailed, Unreachable
from fedpriv.secagg.messages import Envelope, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from flwr.proto.message_pb2 import Message as ProtoMessage
    from flwr.proto.node_pb2 import NodeInfo
    from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

MESSAGE_TYPE = "query.fedpriv"

_CALL_TIMEOUT_S = 60.0  # one call carries at most 5 MB; none outlives the stage that it is made for
_LAST_CALL_S = 0.2
_CONTROL_TIMEOUT_S = 15.0
_FIRST_POLL_S, _LAST_POLL_S = 0.05, 0.15
# A longer vector is cut into objects of its own. 1,000 replies that are whole fit into one call (2 GB); both
# sides must agree.
_INLINE_BYTES = 2_000_000
_LARGEST_REPLY_BYTES = 1 << 30
# A SuperLink needs some 5 s to come back, and twice that if it lost its state.
_CONTROL_PATIENCE_S, _CONTROL_RETRY_S = 30.0, 0.5

_log = logging.getLogger(__name__)

_PYPROJECT = """\
[project]
name = "fedpriv"
version = "1.0.0"

[tool.flwr.app]
publisher = "fedpriv"

[tool.flwr.app.components]
serverapp = "none:none"
clientapp = "none:none"
"""
_README = (
    "This bundle holds no code. Hospitals run what is installed on their own machines, never a bundle.\n"
)


class Members:
    """The hospitals as the SuperLink knows them, over its Control API.

    ``root_certificate`` is the PEM of the authority of the SuperLink's certificate; ``hospitals`` maps each
    name to its P-384 public key as one OpenSSH line, straight from the roster: it alone decides which node
    is which hospital. ``retired`` are keys of earlier rosters, which are shut out. A SuperLink that is away
    is tried for ``patience_s``; then every method raises Unreachable.
    """

    def __init__(
        self,
        *,
        control_address: str,
        root_certificate: bytes,
        hospitals: Mapping[str, bytes],
        retired: Collection[bytes] = (),
        patience_s: float = 0.0,
    ) -> None:
        self._control = _Control(control_address, root_certificate, patience_s)
        self._name_of = {_to_pem(line): name for name, line in hospitals.items()}
        self._retired = set(map(_to_pem, retired))

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._name_of.values()))

    def register(self) -> None:
        """Let those connect that cannot yet, and those no more whose keys are retired.

        Flower forgets no key: one taken out can never come back. That is the rule of rosters as well.
        """
        nodes = self._control.nodes()
        for key in self._name_of.keys() - {node.public_key for node in nodes}:
            self._control.register(key)
        for node in nodes:
            if node.public_key in self._retired and node.status != NodeStatus.UNREGISTERED:
                self._control.unregister(node.node_id)

    def online(self) -> set[str]:
        """Those that are connected; one that was killed leaves the set within 60 s."""
        return {self._name_of[node.public_key] for node in self._nodes() if node.status == NodeStatus.ONLINE}

    def node_ids(self) -> dict[str, int]:
        """Flower's number for each."""
        return {self._name_of[node.public_key]: node.node_id for node in self._nodes()}

    def _nodes(self) -> list[NodeInfo]:
        """The registered nodes that are in the roster; all others are ignored."""
        return [node for node in self._control.nodes() if node.public_key in self._name_of]


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
        _silence_flwr()
        self._members = Members(
            control_address=control_address,
            root_certificate=root_certificate,
            hospitals=hospitals,
            retired=retired,
            patience_s=_CONTROL_PATIENCE_S,
        )
        self._control = _Control(control_address, root_certificate, patience_s=0.0)
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
        self._run_id = self._control.start_run()
        self._grid.deadline = time.monotonic() + _CONTROL_TIMEOUT_S
        self._grid.claim(self._run_id)
        self._faulty = False

    def online(self) -> set[str]:
        """The hospitals that are connected; one that was killed leaves the set within 60 s."""
        online = self._members.online()
        if self._faulty and self._run_id not in self._control.runs():
            _log.warning("the SuperLink has lost its state; a new run begins")
            self._begin()
        self._faulty = False
        return online

    def ask(
        self, requests: Mapping[str, Envelope], deadline_s: float
    ) -> Iterator[tuple[str, Envelope | Lost]]:
        """Send each hospital its request; yield each one's reply or loss as soon as it is known.

        Ends when every hospital was yielded once, about ``deadline_s`` seconds from now at the latest. Only a
        reply of the hospital's own node to this very message counts. A SuperLink that is away is waited for.
        RoundFailed if somebody else ended the run.
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
                self._faulty = True
                self._grid.close()  # the next call connects anew, without gRPC's own long back-off
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
            Message(_to_content(envelope), node, MESSAGE_TYPE, ttl=lifetime_s) for node, envelope in mail
        ]
        return [message_id or None for message_id in self.push_messages(messages)]

    def _try_push_messages(self, run_id: int, messages: Iterable[Message]) -> list[str]:
        """In place of flwr's: what is short travels whole, all of it in one call, and not as objects."""
        messages = list(messages)
        if any(message.content.array_records for message in messages):
            return super()._try_push_messages(run_id, messages)
        request = PushAppMessagesRequest(
            run_id=run_id,
            messages_list=[message_to_proto(message) for message in messages],
            message_object_trees=[ObjectTree(object_id=message.metadata.message_id) for message in messages],
        )
        return list(self._stub.PushMessages(request).message_ids)

    def announced(self, message_ids: Iterable[str]) -> list[Announcement]:
        """Replies to these messages, or Flower's word that one is lost (error 3, 5)."""
        request = PullAppMessagesRequest(message_ids=list(message_ids), run_id=self._run_id)
        found = self._stub.PullMessages(request)
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
            return _from_content(_content(arrival))
        except Exception as error:  # noqa: BLE001 - flwr's parser on a hospital's bytes
            _log.warning("a reply that is none: %s", type(error).__name__)
            return Lost(LossReason.MALFORMED)


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


class _Control:
    """Flower's Control API: who is registered and which run is open. A new connection for every call."""

    def __init__(self, address: str, root_certificate: bytes, patience_s: float) -> None:
        self._address = address
        self._patience_s = patience_s
        self._credentials = grpc.ssl_channel_credentials(root_certificate)

    def nodes(self) -> list[NodeInfo]:
        """Every registered node."""
        return list(self._call("ListNodes", ListNodesRequest()).nodes_info)

    def register(self, public_key_pem: bytes) -> None:
        """Let the holder of this key connect."""
        self._call("RegisterNode", RegisterNodeRequest(public_key=public_key_pem))

    def unregister(self, node_id: int) -> None:
        """Shut this node and its key out for good."""
        self._call("UnregisterNode", UnregisterNodeRequest(node_id=node_id))

    def runs(self) -> dict[int, bool]:
        """The number of each run, and whether it has ended."""
        runs = self._call("ListRuns", ListRunsRequest()).run_dict
        return {run_id: run.status.status == Status.FINISHED for run_id, run in runs.items()}

    def unfinished_runs(self) -> list[int]:
        """The runs that were started and not ended."""
        return [run_id for run_id, ended in self.runs().items() if not ended]

    def stop_run(self, run_id: int) -> None:
        """End a run and delete its messages and objects."""
        self._call("StopRun", StopRunRequest(run_id=run_id))

    def start_run(self) -> int:
        """Open a run whose bundle holds no code; Flower refuses one without a pyproject."""
        bundle = _bundle()
        fab = Fab(hash_str=hashlib.sha256(bundle).hexdigest(), content=bundle)
        return int(self._call("StartRun", StartRunRequest(fab=fab)).run_id)

    def _call(self, name: str, request: object) -> Any:  # noqa: ANN401 - grpc carries no types
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                with grpc.secure_channel(self._address, self._credentials) as channel:
                    return getattr(ControlStub(channel), name)(request, timeout=_CONTROL_TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > give_up:
                    reason = str(error.details()).rpartition(": ")[2].lower()  # first comes what was tried
                    raise Unreachable(
                        f"no coordinator answers at {self._address} (Flower's Control API): {reason}",
                        hint="is `fedpriv coordinator start` running?",
                    ) from error
            time.sleep(_CONTROL_RETRY_S)


def _bundle() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in (("pyproject.toml", _PYPROJECT), ("README.md", _README)):
            archive.writestr(zipfile.ZipInfo(name), text)
    return packed.getvalue()


def _to_pem(openssh_line: bytes) -> bytes:
    """The form in which flwr 1.27 compares keys, byte for byte."""
    key = load_ssh_public_key(openssh_line)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


# The same two functions stand in node/flower.py: the sides share no code that knows Flower.


def _to_content(envelope: Envelope) -> RecordDict:
    record = ConfigRecord({"stage": int(envelope.stage), "body": envelope.body})
    content = RecordDict({"envelope": record})
    if len(envelope.vector) <= _INLINE_BYTES:
        record["vector"] = envelope.vector
    else:
        array = Array("uint8", (len(envelope.vector),), "bytes", envelope.vector)
        content["vector"] = ArrayRecord({"bytes": array})
    return content


def _from_content(content: RecordDict) -> Envelope:
    """The envelope whose content is exactly ``content``; ValueError, KeyError or TypeError otherwise."""
    fields = content.config_records["envelope"]
    stage, body = fields["stage"], fields["body"]
    long = "vector" in content
    vector = content.array_records["vector"]["bytes"].data if long else fields["vector"]
    if not (isinstance(stage, int) and isinstance(body, bytes) and isinstance(vector, bytes)):
        raise TypeError("a field of the wrong type")
    envelope = Envelope(Stage(stage), body, vector)
    if _to_content(envelope) != content:
        raise ValueError("something beside the envelope")
    return envelope


def _silence_flwr() -> None:
    """Take flwr's console handler away: what matters is raised or reported here."""
    logger = logging.getLogger("flwr")
    logger.handlers = [logging.NullHandler()]
    logger.setLevel(logging.CRITICAL)
