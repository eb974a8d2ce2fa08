"""Generated messages against both machines in every stage: no crash, no hang, no acceptance.

A federation in which everybody must take part (t = n = 3, no dropouts) admits exactly one request and
one reply a stage, so whatever differs from it by one bit or more has to be refused. Messages are made
by turning bits, cutting, splicing, and by changing the MessagePack tree so that lengths and types stay
right. FEDPRIV_FUZZ_MESSAGES sets how many; `make bench` runs a longer one.
"""

import copy
import os
import random

import msgspec
import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg.messages import Envelope, Stage
from fedpriv.secagg.refusal import RuleBroken

MESSAGES = int(os.environ.get("FEDPRIV_FUZZ_MESSAGES", "204000"))
SIDES = ("hospital", "coordinator")
PER_CASE = MESSAGES // (len(SIDES) * len(Stage))


def fork(machine):
    """The same machine again, so that one refusal does not end the fuzzing."""
    twin = copy.copy(machine)
    for name, value in vars(machine).items():
        if isinstance(value, dict | set | list):
            setattr(twin, name, copy.copy(value))
    return twin


def flip(source, body):
    place = source.randrange(len(body))
    return body[:place] + bytes([body[place] ^ (1 << source.randrange(8))]) + body[place + 1 :]


def cut(source, body):
    start, stop = sorted(source.choices(range(len(body) + 1), k=2))
    return body[:start] + body[stop:]


def splice(source, body):
    start, length = source.randrange(len(body)), source.randrange(1, 40)
    return body[:start] + source.randbytes(length) + body[start + source.choice((0, length)) :]


def noise(source, body):
    return source.randbytes(source.randrange(2 * len(body)))


def change_tree(source, body):
    """Change one node of the tree; keep the rest, so that most checks before it pass."""
    tree = msgspec.msgpack.decode(body)
    node = tree
    while True:
        place = source.randrange(len(node)) if node else 0
        if node and isinstance(node[place], list) and source.random() < 0.8:
            node = node[place]
            continue
        break
    if not node:
        node.append(0)
    elif source.random() < 0.3:
        node[place] = source.choice((None, True, -1, 2**63, 1.5, "", "h0001", b"", [], {}, node[:]))
    elif source.random() < 0.3:
        source.choice((node.pop, lambda: node.append(node[place]), node.reverse, node.clear))()
    elif isinstance(node[place], bytes):
        node[place] = source.randbytes(len(node[place]))
    elif isinstance(node[place], str):
        node[place] = source.choice(("h0000", "h0001", "h0002", "h0003", "advertisement", "commitment"))
    elif isinstance(node[place], int):
        node[place] = source.randrange(2**32)
    return msgspec.msgpack.encode(tree)


MUTATIONS = (flip, cut, splice, noise, change_tree, change_tree, change_tree)


@pytest.fixture(scope="module")
def stages():
    """For every stage: both machines as they await it, the true request and the true reply."""
    federation = Federation(terms_for(3, threshold=3, dropouts=0))
    requests, found = federation.coordinator.open(federation.model), {}
    for stage in Stage:
        hospital = fork(federation.hospitals["h0001"])
        others = {name: request for name, request in requests.items() if name != "h0001"}
        federation.exchange(others)
        coordinator = fork(federation.coordinator)
        reply = federation.answer("h0001", requests["h0001"])
        found[stage] = hospital, coordinator, requests["h0001"], reply
        federation.coordinator.receive("h0001", reply)
        if stage < Stage.UNMASK:
            requests = federation.coordinator.advance()
        elif stage is Stage.UNMASK:
            federation.coordinator.total()
            requests = federation.coordinator.close(b"M" * 32, b"P" * 32)
    return found


def deliver(stages, side, stage, body):
    hospital, coordinator, request, reply = stages[stage]
    if side == "coordinator":
        fork(coordinator).receive("h0001", Envelope(stage, body, reply.vector))
        return
    machine = fork(hospital)
    envelope = Envelope(stage, body, request.vector)
    if stage is Stage.UPLOAD:
        machine.upload(envelope, lambda: pytest.fail("trained for a request that breaks a rule"))
    elif stage is Stage.CLOSE:
        machine.close(envelope, b"H" * 32)
    else:
        getattr(machine, stage.name.lower())(envelope)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("stage", Stage, ids=lambda stage: stage.name)
def test_every_generated_message_is_refused(stages, side, stage):
    _, _, request, reply = stages[stage]
    true = (request if side == "hospital" else reply).body
    source = random.Random(f"{side} {stage.name}")
    tried, codes = 0, set()
    while tried < PER_CASE:
        body = source.choice(MUTATIONS)(source, true)
        if body == true:
            continue
        tried += 1
        try:
            deliver(stages, side, stage, body)
        except RuleBroken as refused:
            codes.add(refused.code)
        else:
            pytest.fail(f"accepted: {body.hex()}")
    assert len(codes) > 1, "nothing got past the decoder: the generator is too blunt"


@pytest.mark.parametrize(
    "stage", [stage for stage in Stage if stage is not Stage.UPLOAD], ids=lambda s: s.name
)
def test_control_the_true_messages_are_accepted(stages, stage):
    _, _, request, reply = stages[stage]
    deliver(stages, "hospital", stage, request.body)
    deliver(stages, "coordinator", stage, reply.body)


def test_control_unsigned_agreements_let_generated_ones_through(stages, monkeypatch):
    """Weakened: nobody verifies, so another signature is as good as the true one."""
    monkeypatch.setattr("fedpriv.secagg.messages.Signed.verify", lambda *_: None)
    *_, reply = stages[Stage.AGREE]
    deliver(stages, "coordinator", Stage.AGREE, reply.body[:-1] + bytes([reply.body[-1] ^ 1]))
