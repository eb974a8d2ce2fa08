"""One word for what a node does, from its journal and the pulse of its process."""

import pytest

from fedpriv.node.doing import Doing, told
from fedpriv.node.events import Approve, Pin, Refuse, Sign
from fedpriv.node.state import Activity, NodeState
from fedpriv.pulse import Pulse
from fedpriv.secagg.messages import Envelope, Stage
from fedpriv.secagg.refusal import RefusalCode

RUN = b"r" * 16
PINNED, APPROVED = Pin("test", 1, bytes(32)), Approve("small", bytes(32))
IDLE = Pulse(well=True, state="idle", says="connected")


def after(journal, *events, pulse=None, running=False):
    for event in events:
        journal.append(event)
    return told(journal.rows, pulse, running=running)


def test_registered_until_there_is_a_roster_and_a_study(journal):
    assert after(journal).doing is Doing.REGISTERED
    found = after(journal, PINNED)
    assert found.doing is Doing.REGISTERED
    assert "node approve" in found.detail
    found = after(journal, APPROVED)
    assert found.doing is Doing.CONFIGURED
    assert "node start" in found.detail
    assert "or hangs" in after(journal, running=True).detail


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("loading", Doing.CONFIGURED),
        ("connecting", Doing.UNREACHABLE),
        ("lost", Doing.UNREACHABLE),
        ("untrusted", Doing.UNREACHABLE),
        ("refused", Doing.REFUSED),
        ("idle", Doing.IDLE),
        ("answering", Doing.IDLE),
        ("training", Doing.TRAINING),
    ],
)
def test_a_running_node_is_as_its_pulse_says(journal, state, expected):
    pulse = Pulse(well=False, state=state, says="in words")
    assert after(journal, PINNED, APPROVED, pulse=pulse, running=True) == (expected, "in words")


def test_every_state_of_the_process_has_its_word(journal):
    after(journal, PINNED, APPROVED)
    for state in NodeState:
        assert after(journal, pulse=Pulse(well=True, state=state, says="")).doing in Doing


def test_training_is_what_the_process_does_while_it_trains(journal):
    after(journal, PINNED, APPROVED)
    activity, seen = Activity("fed.example.org:9092"), []

    def handle(request):
        seen.append(told(journal.rows, activity.pulse(), running=True).doing)
        return request

    activity.link_is("connected")
    answer = activity.following(handle)
    answer(Envelope(Stage.SHARE, b""))
    answer(Envelope(Stage.UPLOAD, b""))
    assert seen == [Doing.IDLE, Doing.TRAINING]
    assert told(journal.rows, activity.pulse(), running=True).doing is Doing.IDLE


def test_a_refusal_is_named_until_something_else_happens(journal):
    no = Refuse(RUN, 4, 0, RefusalCode.WRONG_ROSTER, "another roster")
    found = after(journal, PINNED, APPROVED, no, pulse=IDLE)
    assert found == (Doing.REFUSED, "the last request, wrong roster: another roster")
    assert after(journal, Sign(RUN, 5, 0, bytes(32)), pulse=IDLE).doing is Doing.IDLE
