"""A hospital's side of the link: flwr's own Fleet client, in this process, for installed code only.

A stock SuperNode downloads the app bundle of a run and executes it. This client cannot: it has no call that
fetches a bundle. It pulls messages of one type, gives each to the installed handler and pushes the reply.
flwr promises nothing of what is used here (see `fedpriv.flower_wire`).
"""

from __future__ import annotations

import logging
import re
import threading
import time
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from fedpriv import flower_wire  # isort: skip - before flwr and gRPC

import grpc
from flwr.client.grpc_rere_client import connection
from flwr.common import Message
from flwr.common.grpc import create_channel
from flwr.common.retry_invoker import RetryInvoker, exponential
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PushMessagesRequest,
)
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectIdNotPreregisteredError,
    ObjectUnavailableError,
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)

from fedpriv.backoff import Backoff
from fedpriv.errors import ProtocolRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from fedpriv.secagg.messages import Envelope

_CALL_TIMEOUT_S = 60.0  # one call carries at most 5 MB
_POLL_TIMEOUT_S = 15.0  # it carries at most 1 MB: on a line that was cut, TCP would wait for minutes
_GOODBYE_TIMEOUT_S = 0.5
_STOP_CHECK_S = 0.1
# Every poll, and every object of a message, costs the SuperLink 3 ms of its one core: a round is little else.
_FIRST_POLL_S, _LAST_POLL_S = 0.05, 0.4
_FIRST_PULL_S, _LAST_PULL_S = 0.02, 0.2
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 4.0
_OBJECTS_TIMEOUT_S = 120.0
_NO_RUNTIME_S = 0.0  # Flower asks how long a handler ran; that says how many images there are
# What flwr 1.27 answers to a node that was killed and comes back before its last heartbeat has run out.
_STILL_ACTIVE = re.compile(r"SuperNode with node ID (\d+) could not be activated")
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}

_log = logging.getLogger(__name__)


class LinkState(StrEnum):
    """What a hospital knows about its link to the coordinator."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"  # no answer; tried again until `stop`
    REFUSED = "refused"  # it answers, but does not know this key, or the two clocks differ
    UNTRUSTED = "untrusted"  # its certificate is not signed by the roster's authority, or for another host


def serve(
    address: str,
    root_certificate: bytes,
    link_key: EllipticCurvePrivateKey,
    handle: Callable[[Envelope], Envelope],
    stop: threading.Event,
    on_state: Callable[[LinkState], None],
) -> None:
    """Answer the coordinator's requests with ``handle`` until ``stop`` is set.

    ``address`` is HOST:PORT of the Fleet API, ``root_certificate`` the PEM of the only authority it may be
    signed by, ``link_key`` this hospital's P-384 key. A coordinator that is away is tried again without end,
    0.5 s to 4 s apart; ``on_state`` hears each change. Returns within a second of ``stop``, once ``handle``
    has returned. An exception of ``handle`` ends the link and is raised.

    ``handle`` must be idempotent: after a fault the coordinator may send the same request again.
    """
    flower_wire.silence_flwr()
    link = _Link(handle, stop, on_state)
    while not stop.is_set():
        link.run_once(address, root_certificate, link_key)


class _CallFailed(grpc.RpcError):  # type: ignore[misc] # grpc carries no types
    """A call to the coordinator failed; ``status`` and ``details`` say how."""

    def __init__(self, status: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{status.name}: {details}")
        self.status = status
        self.details = details

    def code(self) -> grpc.StatusCode:
        """Always UNAVAILABLE: flwr's heartbeat thread dies with a traceback of every other code."""
        return grpc.StatusCode.UNAVAILABLE

    @property
    def state(self) -> LinkState:
        """What the failure means for the link."""
        if self.status in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.FAILED_PRECONDITION}:
            return LinkState.REFUSED
        if "CERTIFICATE_VERIFY_FAILED" in self.details or "Hostname Verification" in self.details:
            return LinkState.UNTRUSTED
        return LinkState.LOST


def _unwatched_channel(*args: Any, **options: Any) -> grpc.Channel:  # noqa: ANN401 - as flwr calls it
    """In place of flwr's: nobody subscribes to the channel's state, which is only for flwr's log.

    gRPC would print a traceback from the watcher's thread if the channel is closed soon, and closing waits
    for the watcher, who counts from a clock that may jump.
    """
    channel = create_channel(*args, **options)
    channel.subscribe = lambda *_args, **_options: None
    return channel


vars(connection)["create_channel"] = _unwatched_channel


class _FleetCalls:
    """flwr's Fleet stub reduced to the eight calls that a hospital makes; none of them can fetch code.

    Each call is bounded in time and given up when ``stop`` is set. After the first failure all fail, so that
    all users of the link leave it; the next one starts on a fresh channel, without gRPC's own long back-off.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self.failure: _CallFailed | None = None

    def bind(self, channel: grpc.Channel) -> Self:
        """Stand in for flwr's stub class: flwr calls this with the channel that it has opened."""
        stub = FleetStub(channel)
        self.ActivateNode = partial(self._activate, stub)
        self.DeactivateNode = partial(_goodbye, stub.DeactivateNode)
        # One heartbeat that is lost must not end the link during a long training: flwr tries it again.
        self.SendNodeHeartbeat = partial(self._bounded, stub.SendNodeHeartbeat)
        self.PullMessages = partial(self._call, stub.PullMessages, timeout=_POLL_TIMEOUT_S)
        self.PushMessages = partial(self._call, stub.PushMessages)
        self.PullObject = partial(self._call, stub.PullObject)
        self.PushObject = partial(self._call, stub.PushObject)
        self.ConfirmMessageReceived = partial(self._call, stub.ConfirmMessageReceived)
        return self

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable, request: object, timeout: float = _CALL_TIMEOUT_S
    ) -> object:
        if self.failure is not None:
            raise self.failure
        try:
            return self._bounded(method, request, timeout)
        except _CallFailed as failure:
            if failure.status is not grpc.StatusCode.PERMISSION_DENIED:  # the run is over, the link is not
                self.failure = failure
            raise

    def _bounded(
        self, method: grpc.UnaryUnaryMultiCallable, request: object, timeout: float = _CALL_TIMEOUT_S
    ) -> object:
        call = method.future(request, timeout=timeout)
        done = _done(call)
        give_up = time.monotonic() + timeout + _STOP_CHECK_S
        while not done.wait(_STOP_CHECK_S):
            if self._stop.is_set():
                call.cancel()
                raise _CallFailed(grpc.StatusCode.CANCELLED, "stopped")
            if time.monotonic() > give_up:
                call.cancel()
                raise _CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer, and no end of the call")
        try:
            return call.result()
        except grpc.RpcError as error:
            raise _CallFailed(error.code(), error.details() or "") from error

    def _activate(self, stub: FleetStub, request: ActivateNodeRequest) -> ActivateNodeResponse:
        """Activate; a node that still counts as active since before it was killed says goodbye first."""
        try:
            return cast("ActivateNodeResponse", self._bounded(stub.ActivateNode, request))
        except _CallFailed as refused:
            still_active = _STILL_ACTIVE.search(refused.details)
            if still_active is None:
                self.failure = refused
                raise
        self._call(stub.DeactivateNode, DeactivateNodeRequest(node_id=int(still_active[1])))
        return cast("ActivateNodeResponse", self._call(stub.ActivateNode, request))


def _goodbye(method: grpc.UnaryUnaryMultiCallable, request: DeactivateNodeRequest) -> object:
    """Said also when `stop` is set, and waited for no longer than it is worth."""
    call = method.future(request, timeout=_GOODBYE_TIMEOUT_S)
    if _done(call).wait(_GOODBYE_TIMEOUT_S):
        return call.result()
    call.cancel()
    raise _CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer to a goodbye")


def _done(call: grpc.Future) -> threading.Event:
    """Set once ``call`` is over. gRPC's own ways to wait count from a clock that may jump."""
    done = threading.Event()
    call.add_done_callback(lambda _call: done.set())
    return done


class _Client(NamedTuple):
    """What flwr's client gives, in its order, and the calls that it is made of."""

    node_id: int
    receive: Callable[[], tuple[Message, ObjectTree] | None]
    send: Callable[[Message, ObjectTree, float], set[str]]
    get_run: object
    get_fab: object
    pull_object: Callable[[int, str], bytes]
    push_object: Callable[[int, str, bytes], None]
    confirm: Callable[[int, str], None]
    calls: _FleetCalls


class _Link:
    """What outlives one connection: the state that was reported, the pause and a reply not yet delivered."""

    def __init__(
        self,
        handle: Callable[[Envelope], Envelope],
        stop: threading.Event,
        on_state: Callable[[LinkState], None],
    ) -> None:
        self._handle = handle
        self._stop = stop
        self._on_state = on_state
        self._state: LinkState | None = None
        self._backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S)
        self._unsent: Message | None = None
        self._report(LinkState.CONNECTING)

    def run_once(self, address: str, root_certificate: bytes, link_key: EllipticCurvePrivateKey) -> None:
        """Connect, serve until the connection fails or ``stop``, then wait before the next try."""
        calls = _FleetCalls(self._stop)
        crash: Exception | None = None
        try:
            with connection.grpc_request_response(
                address,
                insecure=False,
                retry_invoker=RetryInvoker(exponential, grpc.RpcError, max_tries=1, max_time=None),
                root_certificates=root_certificate,
                authentication_keys=(link_key, link_key.public_key()),
                adapter_cls=cast("type[FleetStub]", calls.bind),
            ) as functions:
                try:
                    self._report(LinkState.CONNECTED)
                    self._backoff.reset()
                    self._serve(_Client(*functions, calls))
                except _CallFailed:
                    pass  # kept in calls.failure
                except Exception as error:  # noqa: BLE001 - flwr's context would swallow it
                    crash = error
        except RuntimeError as error:  # flwr's context manager could not connect, or its heartbeat had died
            _log.debug("flwr: %s", error)
        if crash is not None:
            raise crash
        if self._stop.is_set():
            return
        self._report(LinkState.LOST if calls.failure is None else calls.failure.state, calls.failure)
        self._stop.wait(self._backoff.pause_s())

    def _serve(self, client: _Client) -> None:
        pause_s = _FIRST_POLL_S
        while not self._stop.is_set():
            self._deliver(client)
            try:
                received = _receive(client)
                if received is None:
                    self._stop.wait(pause_s)
                    pause_s = min(1.5 * pause_s, _LAST_POLL_S)
                    continue
                pause_s = _FIRST_POLL_S
                message, tree = received
                request = _pull(client, message, tree)
            except ProtocolRefused as refused:
                _log.warning("ignored a message: %s", refused.message)
                self._stop.wait(pause_s)  # whoever sends nonsense without end must not fill the log
                continue
            self._unsent = Message(flower_wire.to_content(self._handle(request)), reply_to=message)

    def _deliver(self, client: _Client) -> None:
        """Push the reply that waits, if one does; it waits on if the coordinator is away."""
        if self._unsent is None:
            return
        try:
            _push(client, self._unsent)
        except ObjectIdNotPreregisteredError:
            _log.info("a reply came after its run had ended")
        except _CallFailed as failure:
            if failure.status in _AWAY:
                raise
            self._unsent = None
            if failure.status is not grpc.StatusCode.PERMISSION_DENIED:
                raise
            _log.info("a reply came after its run had ended")
        self._unsent = None

    def _report(self, state: LinkState, failure: _CallFailed | None = None) -> None:
        if state is self._state:
            return
        self._state = state
        if failure is not None:
            _log.info("link %s: %s", state, failure)
        self._on_state(state)


def _receive(client: _Client) -> tuple[Message, ObjectTree] | None:
    """The next message, None if there is none; ProtocolRefused if flwr cannot make one of the answer."""
    try:
        return client.receive()
    except grpc.RpcError:
        raise
    except Exception as error:
        raise ProtocolRefused(f"not a message: {type(error).__name__}") from error


def _pull(client: _Client, message: Message, tree: ObjectTree) -> Envelope:
    """Fetch the objects of ``message`` and confirm it; ProtocolRefused if it is not exactly a request."""
    metadata = message.metadata
    if metadata.message_type != flower_wire.MESSAGE_TYPE:
        raise ProtocolRefused(f"type {metadata.message_type!r} is not on the allow-list")
    contents: dict[str, bytes] = {}
    try:
        if tree.children:  # of a short message there are no objects: its content came along
            contents = pull_objects(
                [node.object_id for node in iterate_object_tree(tree)],
                partial(client.pull_object, metadata.run_id),
                max_time=_OBJECTS_TIMEOUT_S,
                initial_backoff=_FIRST_PULL_S,  # the coordinator pushes them while we pull
                backoff_cap=_LAST_PULL_S,
            )
        client.confirm(metadata.run_id, metadata.message_id)
    except (ObjectUnavailableError, ObjectIdNotPreregisteredError) as error:
        raise ProtocolRefused("its objects never arrived") from error
    except _CallFailed as error:
        if error.status is grpc.StatusCode.PERMISSION_DENIED:
            raise ProtocolRefused("its run has ended") from error
        raise
    try:
        if contents:
            message = cast("Message", inflate_object_from_contents(metadata.message_id, contents))
        return flower_wire.from_content(message.content)
    except Exception as error:
        raise ProtocolRefused(f"not a request: {type(error).__name__}") from error


def _push(client: _Client, reply: Message) -> None:
    """Send what is short whole, in one call; otherwise as flwr does, in objects."""
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
        if flower_wire.travels_whole(reply.content):
            request = PushMessagesRequest(
                node=Node(node_id=client.node_id),
                messages_list=[message_to_proto(reply)],
                message_object_trees=[ObjectTree(object_id=reply.object_id)],
                clientapp_runtime_list=[_NO_RUNTIME_S],
            )
            client.calls.PushMessages(request)
            return
        objects = get_all_nested_objects(reply)
        missing = client.send(reply, get_object_tree(reply), _NO_RUNTIME_S)
        push_objects(objects, partial(client.push_object, reply.metadata.run_id), object_ids_to_push=missing)
