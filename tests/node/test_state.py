"""What a node says it is doing, as its link and its requests change."""

import pytest

from fedpriv.node.flower import LinkState
from fedpriv.node.state import Activity, NodeState
from fedpriv.secagg.messages import Envelope, Stage


@pytest.fixture
def activity():
    return Activity("fed.example.org:9092")


def test_every_state_of_a_link_is_a_state_of_the_node_and_only_a_live_link_is_well(activity):
    assert (activity.state, activity.pulse().well) == (NodeState.LOADING, False)
    for link in LinkState:
        activity.link_is(link)
        assert activity.pulse().well is (link is LinkState.CONNECTED)
        assert activity.pulse().state == ("idle" if link is LinkState.CONNECTED else link)


def test_every_state_has_words(activity):
    for link in LinkState:
        activity.link_is(link)
        assert "fed.example.org:9092" in activity.pulse().says


@pytest.mark.parametrize("stage", Stage)
def test_it_trains_while_it_is_asked_to_train_and_only_then(activity, stage):
    activity.link_is(LinkState.CONNECTED)
    seen = []

    def handle(request):
        seen.append(activity.pulse())
        return request

    activity.following(handle)(Envelope(stage, b""))
    assert activity.state is NodeState.IDLE
    (during,) = seen
    assert during.well
    assert during.state == ("training" if stage is Stage.UPLOAD else "answering")


def test_a_request_that_fails_is_over_and_a_link_lost_in_training_shows(activity):
    activity.link_is(LinkState.CONNECTED)

    def fail(_request):
        activity.link_is(LinkState.LOST)
        assert activity.state is NodeState.LOST
        activity.link_is(LinkState.CONNECTED)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        activity.following(fail)(Envelope(Stage.UPLOAD, b""))
    assert activity.state is NodeState.IDLE
