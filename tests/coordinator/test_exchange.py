"""The exchange over a post made of lists and a clock that only moves when told."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fedpriv.coordinator import exchange
from fedpriv.coordinator.exchange import (
    RESEND_PAUSE_S,
    SENDS,
    Announcement,
    Arrival,
    Exchange,
    LossReason,
    Lost,
)
from fedpriv.secagg.messages import Envelope, Stage

NODES = {"north": 1, "south": 2, "west": 3}
REPLY = Envelope(Stage.SHARE, b"reply")


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Post:
    """Records what is sent; the test puts news and replies in."""

    sent: list[tuple[int, Envelope, float, str | None]] = field(default_factory=list)
    news: list[Announcement] = field(default_factory=list)
    asked_about: list[set[str]] = field(default_factory=list)
    opened: Callable[[Arrival], Envelope | Lost | None] = lambda _: REPLY
    never_connected: frozenset[int] = frozenset()

    def send(self, mail, lifetime_s):
        ids = [
            None if node in self.never_connected else f"m{len(self.sent) + i}"
            for i, (node, _) in enumerate(mail)
        ]
        self.sent += [
            (node, envelope, lifetime_s, id_) for (node, envelope), id_ in zip(mail, ids, strict=True)
        ]
        return ids

    def announced(self, message_ids):
        self.asked_about.append(set(message_ids))
        news, self.news = self.news, []
        return news

    def fetch(self, arrival):
        return self.opened(arrival)

    def last_id(self, node: int) -> str:
        return [id_ for to, _, _, id_ in self.sent if to == node][-1]

    def answer(self, node: int, *, sender: int | None = None, failed: bool = False) -> None:
        sender = node if sender is None else sender
        self.news.append(Announcement(self.last_id(node), sender, failed, Arrival(f"r{node}")))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(exchange, "time", clock)
    return clock


@pytest.fixture
def post():
    return Post()


def start(post, clock, names=tuple(NODES), deadline_s=60.0) -> Exchange:
    requests = {name: Envelope(Stage.SHARE, name.encode()) for name in names}
    return Exchange(post, NODES, requests, clock.now + deadline_s)


def test_each_request_goes_to_its_node_once_and_lives_as_long_as_the_deadline(post, clock):
    running = start(post, clock, deadline_s=60)
    for _ in range(3):
        assert list(running.advance()) == []
    assert [(node, envelope.body, lifetime_s) for node, envelope, lifetime_s, _ in post.sent] == [
        (1, b"north", 60),
        (2, b"south", 60),
        (3, b"west", 60),
    ]
    assert not running.finished


def test_a_reply_settles_its_hospital_only(post, clock):
    running = start(post, clock)
    list(running.advance())
    post.answer(2)
    assert list(running.advance()) == [("south", REPLY)]
    assert not running.finished
    post.answer(1)
    post.answer(3)
    assert dict(running.advance()) == {"north": REPLY, "west": REPLY}
    assert running.finished


def test_a_reply_that_is_not_whole_yet_delays_nobody_and_is_not_announced_again(post, clock):
    whole = set()
    post.opened = lambda arrival: REPLY if arrival.message_id in whole else None
    running = start(post, clock)
    list(running.advance())
    post.answer(1)
    post.answer(2)
    whole.add("r2")
    assert dict(running.advance()) == {"south": REPLY}
    assert list(running.advance()) == []
    assert post.asked_about[-1] == {post.last_id(3)}
    whole.add("r1")
    assert dict(running.advance()) == {"north": REPLY}


def test_at_the_deadline_the_rest_is_lost_and_nothing_more_is_sent(post, clock):
    running = start(post, clock, deadline_s=5)
    list(running.advance())
    post.answer(1)
    assert dict(running.advance()) == {"north": REPLY}
    clock.now += 5
    post.answer(2)
    assert dict(running.advance()) == {
        "south": Lost(LossReason.DEADLINE),
        "west": Lost(LossReason.DEADLINE),
    }
    assert running.finished
    assert len(post.sent) == 3


def test_a_request_that_got_lost_is_sent_again_after_a_pause_and_only_the_new_one_counts(post, clock):
    running = start(post, clock, names=["north"])
    list(running.advance())
    first = post.last_id(1)
    post.answer(1, failed=True)
    list(running.advance())
    clock.now += RESEND_PAUSE_S - 0.01
    list(running.advance())
    assert len(post.sent) == 1
    clock.now += 0.02
    list(running.advance())
    assert len(post.sent) == 2
    assert post.asked_about[-1] == {post.last_id(1)} != {first}
    post.answer(1)
    assert dict(running.advance()) == {"north": REPLY}


def test_after_the_last_try_the_hospital_is_offline(post, clock):
    running = start(post, clock, names=["north"], deadline_s=1e6)
    for sends in range(1, SENDS + 1):
        assert list(running.advance()) == []
        assert len(post.sent) == sends
        post.answer(1, failed=True)
        settled = list(running.advance())
        clock.now += RESEND_PAUSE_S
    assert settled == [("north", Lost(LossReason.OFFLINE))]
    assert running.finished


def test_a_node_that_was_never_there_is_tried_again_like_any_other(post, clock):
    post.never_connected = frozenset({1})
    running = start(post, clock, names=["north"], deadline_s=1e6)
    settled = []
    while not settled:
        settled = list(running.advance())
        clock.now += RESEND_PAUSE_S
    assert settled == [("north", Lost(LossReason.OFFLINE))]
    assert len(post.sent) == SENDS


def test_a_reply_of_another_node_is_never_accepted(post, clock):
    running = start(post, clock, names=["north", "south"])
    list(running.advance())
    post.answer(1, sender=2)
    assert list(running.advance()) == []
    post.answer(2)
    assert dict(running.advance()) == {"south": REPLY}


def test_what_is_no_reply_settles_its_hospital_as_lost(post, clock):
    post.opened = lambda _: Lost(LossReason.MALFORMED)
    running = start(post, clock, names=["north"])
    list(running.advance())
    post.answer(1)
    assert dict(running.advance()) == {"north": Lost(LossReason.MALFORMED)}


def test_an_error_of_the_post_loses_nobody(post, clock):
    working_send, post.send = post.send, None
    running = start(post, clock)
    with pytest.raises(TypeError):
        list(running.advance())
    post.send = working_send
    list(running.advance())
    for node in NODES.values():
        post.answer(node)
    assert set(dict(running.advance())) == set(NODES)
