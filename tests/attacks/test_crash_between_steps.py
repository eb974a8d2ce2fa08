"""Once means once across crashes: a hospital killed between any two steps never says two things.

The model of a node: before a reply to ADVERTISE leaves, the round number is on disk. A crash loses the
machine and everything in memory, keeps the disk, and loses or keeps the reply that was on its way.
"""

import itertools

import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg.messages import Stage
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


class Node:
    """A hospital with a disk that holds one number."""

    def __init__(self, federation, name, *, persists=True):
        self.federation, self.name, self.persists = federation, name, persists
        self.disk = {"last_round": 0}
        self.machine = None
        self.sent = {}

    def handle(self, request, *, crash=None):
        """Answer; ``crash`` is None, "before persisting", "before sending" or "after sending"."""
        if self.machine is None:
            self.machine = self.federation.hospital(self.name, last_round=self.disk["last_round"])
            self.federation.hospitals[self.name] = self.machine
        reply = self.federation.answer(self.name, request)
        if crash == "before persisting":
            return self.die()
        if request.stage is Stage.ADVERTISE and self.persists:
            self.disk["last_round"] = self.federation.terms.round
        if crash == "before sending":
            return self.die()
        self.sent.setdefault(request.stage, set()).add((reply.body, reply.vector))
        if crash == "after sending":
            self.die()
        return reply

    def die(self):
        self.machine = None


CRASHES = ("before persisting", "before sending", "after sending")


def ask(node, request, crash=None):
    """The node's reply, or None if it died or refused."""
    try:
        return node.handle(request, crash=crash)
    except RuleBroken:
        return None


def run_with_crash(stage, crash, *, persists=True):
    """A round in which h0000 crashes once; after every stage it is asked again for everything so far."""
    federation = Federation(terms_for(3))
    node = Node(federation, "h0000", persists=persists)
    requests = federation.coordinator.open(federation.model)
    asked = []
    for due in list(Stage)[:5]:
        request = requests.pop("h0000", None)
        federation.exchange(requests)
        if request is not None:
            asked.append(request)
            reply = ask(node, request, crash if due is stage else None)
            for earlier in asked:
                ask(node, earlier)
            if reply is not None:
                federation.coordinator.receive("h0000", reply)
        if due is not Stage.UNMASK:
            requests = federation.coordinator.advance()
    return node


@pytest.mark.parametrize(("stage", "crash"), list(itertools.product(list(Stage)[:5], CRASHES)))
def test_nothing_is_ever_sent_twice_with_different_content(stage, crash):
    node = run_with_crash(stage, crash)
    assert all(len(contents) == 1 for contents in node.sent.values())


def test_control_a_node_that_forgets_the_round_says_two_things():
    node = run_with_crash(Stage.ADVERTISE, "after sending", persists=False)
    assert len(node.sent[Stage.ADVERTISE]) == 2


def test_after_a_crash_the_round_is_over_for_this_hospital():
    federation = Federation(terms_for(3))
    node = Node(federation, "h0000")
    request = federation.coordinator.open(federation.model)["h0000"]
    node.handle(request, crash="after sending")
    with pytest.raises(RuleBroken) as refused:
        node.handle(request)
    assert refused.value.code is RefusalCode.ROUND_REPLAYED
