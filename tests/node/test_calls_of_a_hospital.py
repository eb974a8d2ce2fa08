"""Every call of a hospital ends, by our own clock if gRPC's does not end it."""

import threading
import time

import grpc
import pytest

from fedpriv.node import flower


class Unanswered:
    """A method whose calls neither answer nor end, whatever gRPC was told of their time."""

    def __init__(self):
        self.cancelled = 0

    def future(self, _request, timeout):
        assert timeout
        return self

    def add_done_callback(self, _callback):
        pass

    def result(self, timeout=None):
        raise AssertionError("gRPC was asked to wait")

    def cancel(self):
        self.cancelled += 1


@pytest.fixture
def method():
    return Unanswered()


def test_a_call_that_grpc_never_ends_is_given_up_and_ends_the_link(method):
    calls = flower._FleetCalls(threading.Event())
    began = time.monotonic()
    with pytest.raises(flower._CallFailed) as failed:
        calls._call(method, None, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 1
    assert failed.value.state is flower.LinkState.LOST
    assert method.cancelled == 1
    with pytest.raises(flower._CallFailed):
        calls._call(method, None, timeout=60)  # at once: the link is left by all its users


def test_a_call_is_given_up_when_the_hospital_stops(method):
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    with pytest.raises(flower._CallFailed, match="stopped"):
        flower._FleetCalls(stop)._bounded(method, None, 60)
    assert time.monotonic() - began < 1
    assert method.cancelled == 1


def test_a_goodbye_is_not_waited_for(method):
    began = time.monotonic()
    with pytest.raises(grpc.RpcError):
        flower._goodbye(method, None)
    assert time.monotonic() - began < 1
