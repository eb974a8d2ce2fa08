"""The coordinator answers a hospital's call with what is no message: its process must not end of it.

The node's link runs as it is, flwr's own client included; only the stub that makes the calls is played.
"""

import threading
import time

import pytest
from flwr.common.message import Metadata, make_message
from flwr.common.serde import message_to_proto
from flwr.proto.error_pb2 import Error
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, ObjectTree, PullObjectResponse
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.recorddict_pb2 import RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from fedpriv.flower_wire import MESSAGE_TYPE, to_content
from fedpriv.identity.keys import new_identity
from fedpriv.identity.tls import new_authority
from fedpriv.node import flower
from fedpriv.secagg.messages import Envelope, Stage

REQUEST = Envelope(Stage.SHARE, b"body")


def request_message():
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=60.0,
        message_type=MESSAGE_TYPE,
    )
    message = make_message(metadata=metadata, content=to_content(REQUEST))
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


MESSAGE = request_message()
PROTO, TREE = message_to_proto(MESSAGE), get_object_tree(MESSAGE)
OBJECTS = {name: thing.deflate() for name, thing in get_all_nested_objects(MESSAGE).items()}
HONEST = PullMessagesResponse(messages_list=[PROTO], message_object_trees=[TREE])


def whole(message):
    """The answer that brings ``message`` as it is, without objects."""
    alone = ObjectTree(object_id=MESSAGE.object_id)
    return PullMessagesResponse(messages_list=[message], message_object_trees=[alone])


NO_REQUEST = {
    "an error": whole(MessageProto(metadata=PROTO.metadata, error=Error(code=1))),
    "no records": whole(MessageProto(metadata=PROTO.metadata, content=RecordDict())),
}
MALFORMED = {
    "no object tree": PullMessagesResponse(messages_list=[PROTO]),
    "neither content nor error": PullMessagesResponse(
        messages_list=[MessageProto(metadata=PROTO.metadata)], message_object_trees=[TREE]
    ),
    "nothing at all": PullMessagesResponse(messages_list=[MessageProto()], message_object_trees=[TREE]),
}


class Fleet:
    """The calls of a link, answered by a coordinator that says ``answers``, one at each pull."""

    answers = ()

    def __init__(self, _stop):
        self.failure = None
        left = list(self.answers)
        self.ActivateNode = lambda _request: ActivateNodeResponse(node_id=2)
        self.DeactivateNode = lambda _request: None
        self.SendNodeHeartbeat = lambda _request, **_timeout: SendNodeHeartbeatResponse(success=True)
        self.PullMessages = lambda request: left.pop(0)
        self.PullObject = lambda request: PullObjectResponse(
            object_found=True, object_available=True, object_content=OBJECTS[request.object_id]
        )
        self.ConfirmMessageReceived = lambda _request: ConfirmMessageReceivedResponse()

    def bind(self, channel):
        return self


def requests_heard(monkeypatch, answers):
    """Run a node's link until it has heard one request; every request that it heard."""
    monkeypatch.setattr(Fleet, "answers", answers)
    monkeypatch.setattr(flower, "_FleetCalls", Fleet)
    stop, heard = threading.Event(), []

    def handle(request):
        heard.append(request)
        stop.set()
        return request

    authority = new_authority("test").certificate_pem.encode()
    key = new_identity("A").link_key
    flower.serve("127.0.0.1:9", authority, key, handle, stop, lambda _state: None)
    return heard


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_a_hospital_ignores_it_and_hears_the_next_request(monkeypatch, answer, caplog):
    assert requests_heard(monkeypatch, [answer, answer, HONEST]) == [REQUEST]
    assert caplog.text.count("ignored a message: not a message: ") == 2


@pytest.mark.parametrize("answer", NO_REQUEST.values(), ids=NO_REQUEST)
def test_a_message_that_comes_whole_and_is_no_request_is_ignored(monkeypatch, answer, caplog):
    assert requests_heard(monkeypatch, [answer, answer, whole(PROTO)]) == [REQUEST]
    assert caplog.text.count("ignored a message: not a request: ") == 2


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_control_a_link_without_that_guard_ends_the_process(monkeypatch, answer):
    monkeypatch.setattr(flower, "_receive", lambda client: client.receive())
    with pytest.raises((IndexError, TypeError, ValueError)):
        requests_heard(monkeypatch, [answer, HONEST])
