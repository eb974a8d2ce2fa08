"""The coordinator sends bad requests without end, all different: each is refused, but not each gets a row."""

import hashlib

import numpy as np
import pytest
from support.memory import PARAMETERS, MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.node.events import Refuse
from fedpriv.node.hospital import Hospital
from fedpriv.secagg.messages import Envelope, Invitation, Stage, encode, refusal_in
from fedpriv.secagg.refusal import RefusalCode

MODEL = np.zeros(PARAMETERS, "<f4").tobytes()
REQUESTS = 60


@pytest.fixture
def federation(tmp_path):
    made = MemoryFederation(tmp_path, small_study(FULL_BATCH))
    yield made
    made.close()


def ask(federation, study):
    number = federation.run.next_round()
    invitation = Invitation(federation.run.run, number, federation.roster.digest, study)
    reply = federation.members["A"].node.handle(Envelope(Stage.ADVERTISE, encode(invitation), MODEL))
    return refusal_in(reply.body)


def attack(federation):
    """Invite to unknown studies, in between to stages out of turn; the rows that this leaves."""
    for number in range(REQUESTS):
        study = hashlib.sha256(bytes([number])).digest()
        assert ask(federation, study) is RefusalCode.STUDY_NOT_APPROVED
        federation.members["A"].node.handle(Envelope(Stage.AGREE, b""))
    return federation.events_of("A", Refuse)


def test_the_journal_stays_small_and_knows_both_kinds(federation):
    codes = [refused.code for refused in attack(federation)]
    assert codes.count(RefusalCode.STUDY_NOT_APPROVED) == 10
    assert codes.count(RefusalCode.OUT_OF_ORDER) == 1


def test_a_refusal_of_another_kind_is_still_recorded(federation):
    attack(federation)
    federation.rounds(federation.study.training.rounds)
    attack(federation)
    assert ask(federation, federation.study.digest) is RefusalCode.BUDGET_SPENT
    assert federation.events_of("A", Refuse)[-1].code == RefusalCode.BUDGET_SPENT


def test_after_a_round_refusals_are_recorded_again(federation):
    before = len(attack(federation))
    federation.round()
    assert len(attack(federation)) == 2 * before


def test_control_a_hospital_that_notes_every_refusal_fills_its_disk(federation, monkeypatch):
    monkeypatch.setattr(Hospital, "_is_news", lambda _hospital, _refused: True)
    assert len(attack(federation)) == 2 * REQUESTS
