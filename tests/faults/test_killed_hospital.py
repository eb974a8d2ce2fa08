"""A hospital killed at any moment of a round never spends less than it sent, and never says two things.

The hospital is real: its home, journal, budget and masked sum; its training is planted. It runs in a child
process, forked from a warm parent, with a coordinator and two peers that live in memory there. What it was
asked and what it sent goes to a file that outlives it. Children are killed before every call to the system
that could change the disk, one after the other, and at 200 random moments.
"""

import functools
import hashlib
import itertools
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.memory import PARAMETERS, MemoryFederation, PlantedTrainer, prepare_with
from support.studies import FULL_BATCH, small_study

from fedpriv.identity.keys import load
from fedpriv.node import budget
from fedpriv.node.events import Release, Reserve, Sign
from fedpriv.node.home import open_home
from fedpriv.node.hospital import Hospital
from fedpriv.node.journal import read_journal
from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import Envelope, Stage, refusal_in
from fedpriv.secagg.terms import vector_digest

RANDOM_KILLS = 200
RUN = b"r" * 16
ZERO_MODEL = np.zeros(PARAMETERS, "<f4").tobytes()

WRITES = frozenset({"open", "write", "flush", "fsync", "replace", "rename", "execute", "close"})
"""Names of the built-in functions through which a process changes a disk here; some only seem to."""


class Note(msgspec.Struct, array_like=True):
    """One line of what outlives the child."""

    round: int
    stage: int
    sent: bool
    body: bytes
    vector: bytes


@dataclass
class World:
    """Everything that stays the same from kill to kill; ``template`` is A's home before any round."""

    study: object
    roster: object
    operator: object
    identities: dict
    template: Path

    def terms(self, number):
        return self.study.round_terms(
            run=RUN, round_number=number, roster_digest=self.roster.digest, parameters=PARAMETERS
        )


@pytest.fixture(scope="module", autouse=True)
def remembered_accounting():
    """The accountant is not the subject: what one composition costs is computed once, before the forks."""
    composed = functools.cache(budget.composed_epsilon)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "composed_epsilon", lambda events, delta: composed(tuple(events), delta))
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    federation = MemoryFederation(folder, small_study(FULL_BATCH))
    federation.close()
    identities = {name: load(folder / name / "identity") for name in federation.study.names}
    return World(federation.study, federation.roster, federation.operator, identities, folder / "A")


@pytest.fixture
def homes(world, tmp_path):
    """Fresh copies of A's home, one after the other."""
    return (shutil.copytree(world.template, tmp_path / f"home-{number}") for number in itertools.count())


def node(home_folder, opened):
    home = open_home(home_folder)
    trainer = PlantedTrainer(np.linspace(-1, 1, PARAMETERS))
    return Hospital(home, opened, prepare_with(trainer))


def live(world, home_folder, notes, numbers):
    """A's whole life: each round of ``numbers`` with a coordinator and two peers."""
    with open_home(home_folder).open_journal() as opened:
        subject = node(home_folder, opened)
        for number in numbers:
            run_round(world, subject, notes, number)


def run_round(world, subject, notes, number):
    keys = world.roster.signing_keys()
    coordinator = CoordinatorRound(
        terms=world.terms(number), roster=keys, signing_key=world.operator.signing_key
    )
    peers = {
        name: HospitalRound(
            name=name,
            signing_key=identity.signing_key,
            roster=keys,
            coordinator_key=world.roster.coordinator.signing_key,
            terms=world.terms(number),
            journal_head=bytes(32),
            last_round=number - 1,
        )
        for name, identity in world.identities.items()
        if name != "A"
    }
    requests = coordinator.open(ZERO_MODEL)
    for stage in Stage:
        for name, request in sorted(requests.items()):
            if name == "A":
                note(notes, number, request, sent=False)
                reply = subject.handle(request)
                note(notes, number, reply, sent=True)
            else:
                reply = answer(peers[name], request)
            coordinator.receive(name, reply)
        if stage is Stage.UNMASK:
            coordinator.total()
            requests = coordinator.close(bytes(32), bytes(32))
        elif stage is not Stage.CLOSE:
            requests = coordinator.advance()


def answer(peer, request):
    values = np.zeros(PARAMETERS, np.int64)
    if request.stage is Stage.UPLOAD:
        return peer.upload(request, lambda: values)
    if request.stage is Stage.CLOSE:
        return peer.close(request, bytes(32))
    return getattr(peer, request.stage.name.lower())(request)


def note(notes, number, envelope, *, sent):
    line = Note(number, envelope.stage, sent, envelope.body, envelope.vector)
    descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, msgspec.json.encode(line) + b"\n")
    os.close(descriptor)


def noted(notes):
    """What was noted; a kill may cut the last line short, and then it was not sent."""
    if not notes.exists():
        return []
    whole = notes.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Note) for line in whole]


def in_a_child(work):
    """Fork, run ``work`` there, and give the process id; the child never comes back."""
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must not run the tests on
        sys.stderr.write(f"the child failed: {error!r}\n")
        os._exit(1)
    os._exit(0)


def ended(process):
    """True if it was killed, False if it was done first; it must not fail by itself."""
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def digest_of(line):
    return hashlib.sha256(line.body + line.vector).digest()


def spent_and_released(rows):
    """(run, round) -> how often it was charged and how many vectors were let go."""
    spent, released = Counter(), Counter()
    for row in rows:
        if isinstance(row.event, Reserve):
            spent[row.event.run, row.event.round] += 1
        if isinstance(row.event, Release):
            released[row.event.run, row.event.round] += 1
    return spent, released


def check_what_is_left(world, home_folder, notes):
    """The journal verifies and covers all that was sent; restarted, the node says nothing different."""
    key = world.identities["A"].signing_public_key
    rows = read_journal(home_folder, key)
    lines = noted(notes)
    signed = {(e.round, e.stage): e.answer_digest for e in (row.event for row in rows) if isinstance(e, Sign)}
    for line in lines:
        if line.sent and not refusal_in(line.body):
            assert signed[line.round, line.stage] == digest_of(line)
    vectors = {row.event.vector_digest for row in rows if isinstance(row.event, Release)}
    assert vectors >= {vector_digest(line.vector) for line in lines if line.sent and line.vector}
    assert_never_overdrawn(rows)

    with open_home(home_folder).open_journal() as opened:
        restarted = node(home_folder, opened)
        for line in lines:
            if not line.sent:
                reply = restarted.handle(Envelope(Stage(line.stage), line.body, line.vector))
                if not refusal_in(reply.body):
                    replied = hashlib.sha256(reply.body + reply.vector).digest()
                    assert signed.get((line.round, line.stage), replied) == replied
        next_round = 1 + max((line.round for line in lines), default=0)
        run_round(world, restarted, notes.with_suffix(".after"), next_round)
    rows = read_journal(home_folder, key)
    assert_never_overdrawn(rows)
    assert spent_and_released(rows)[1][RUN, next_round] == 1


def assert_never_overdrawn(rows):
    spent, released = spent_and_released(rows)
    assert all(spent[place] >= count for place, count in released.items())


def kill_before_write(number):
    """Make this process kill itself before its ``number``-th call that could change the disk."""
    calls = itertools.count()

    def look(frame, event, function):
        if event == "c_call" and function.__name__ in WRITES and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)


def test_killed_before_every_write(world, homes):
    for number in itertools.count():
        home = next(homes)
        notes = home.with_suffix(".notes")

        def work(number=number, home=home, notes=notes):
            kill_before_write(number)
            live(world, home, notes, [1])

        killed = ended(in_a_child(work))
        check_what_is_left(world, home, notes)
        if not killed:
            break
    assert number > 100


def test_killed_at_two_hundred_random_moments(world, homes):
    began = time.monotonic()
    home = next(homes)
    assert not ended(in_a_child(lambda: live(world, home, home.with_suffix(".notes"), [1, 2])))
    whole_life = time.monotonic() - began
    kills = 0
    while kills < RANDOM_KILLS:
        home = next(homes)
        notes = home.with_suffix(".notes")
        child = in_a_child(lambda home=home, notes=notes: live(world, home, notes, [1, 2]))
        time.sleep(random.uniform(0, whole_life))
        os.kill(child, signal.SIGKILL)
        kills += ended(child)
        check_what_is_left(world, home, notes)


def answers_unrecorded(patch):
    patch.setattr(Hospital, "_persist", lambda *arguments: None)


def training_uncharged(patch):
    def release(journal, digest, *, run, round_number):
        journal.append(Release(run, round_number, digest))

    patch.setattr(budget, "reserve", lambda *arguments, **named: None)
    patch.setattr(budget, "release", release)


@pytest.mark.parametrize("careless", [answers_unrecorded, training_uncharged])
def test_control_a_hospital_that_does_not_write_first_is_found(world, homes, monkeypatch, careless):
    home = next(homes)
    notes = home.with_suffix(".notes")
    with monkeypatch.context() as patch:
        careless(patch)
        assert not ended(in_a_child(lambda: live(world, home, notes, [1])))
    with pytest.raises((AssertionError, KeyError)):
        check_what_is_left(world, home, notes)
