"""Which keys the coordinator lets in: those of the roster, and none that an earlier one had."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.constant import NodeStatus

from fedpriv.coordinator.control import Members
from fedpriv.errors import Unreachable
from fedpriv.identity.keys import new_identity

KEYS = {}


def identity_of(label):
    """One identity a label, the same in the whole module."""
    return KEYS.setdefault(label, new_identity(label.split()[0]))


def line(label):
    return identity_of(label).link_public_key


def pem(label):
    key = identity_of(label).link_key.public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Control:
    """Flower's Control API as far as it keeps nodes; a key that was taken out is refused, as by flwr 1.27."""

    def __init__(self):
        self.known = {}
        self.calls = []

    def nodes(self):
        return [
            NodeInfo(node_id=number, public_key=key, status=status)
            for number, (key, status) in self.known.items()
        ]

    def register(self, key):
        assert key not in {known for known, _ in self.known.values()}
        self.known[len(self.known) + 1] = (key, NodeStatus.REGISTERED)

    def unregister(self, number):
        self.calls.append(number)
        key, status = self.known[number]
        assert status != NodeStatus.UNREGISTERED
        self.known[number] = (key, NodeStatus.UNREGISTERED)


@pytest.fixture
def control():
    return Control()


def members(control, hospitals, retired=()):
    made = Members(
        control_address="127.0.0.1:1",
        root_certificate=b"",
        hospitals={label.split()[0]: line(label) for label in hospitals},
        retired=[line(label) for label in retired],
    )
    made._control = control
    return made


def test_a_key_that_was_exchanged_is_shut_out_and_the_new_one_let_in(control):
    members(control, ["A", "B before"]).register()
    after = members(control, ["A", "B"], retired=["B before"])
    after.register()
    state = dict(control.known.values())
    assert state == {
        pem("A"): NodeStatus.REGISTERED,
        pem("B before"): NodeStatus.UNREGISTERED,
        pem("B"): NodeStatus.REGISTERED,
    }
    assert set(after.node_ids()) == {"A", "B"}
    assert after.node_ids()["B"] == 3


def test_it_is_done_once_and_can_be_repeated(control):
    members(control, ["B before"]).register()
    for _ in range(3):
        members(control, ["B"], retired=["B before"]).register()
    assert control.calls == [1]


def test_a_key_that_no_roster_ever_had_is_left_alone_and_is_nobody(control):
    control.register(pem("stranger"))
    known = members(control, ["A"], retired=["B before"])
    known.register()
    assert control.calls == []
    assert known.node_ids() == {"A": 2}


class Raced(Control):
    """Where somebody else registers the same key between a look and a call."""

    def __init__(self, done_by_the_other):
        super().__init__()
        self._done = done_by_the_other

    def register(self, key):
        if self._done:
            super().register(key)
        raise Unreachable("no coordinator answers: public key already in use")


def test_what_another_process_registered_meanwhile_is_done():
    control = Raced(done_by_the_other=True)
    members(control, ["A", "B"]).register()
    assert {key for key, _ in control.known.values()} == {pem("A"), pem("B")}


def test_a_key_that_nobody_could_register_is_an_error():
    with pytest.raises(Unreachable, match="already in use"):
        members(Raced(done_by_the_other=False), ["A"]).register()
