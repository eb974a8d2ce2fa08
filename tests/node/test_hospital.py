"""A hospital against coordinators that ask for too much: refused with a code, recorded, paid by nobody."""

import shutil

import msgspec
import numpy as np
import pytest
from support.memory import PARAMETERS, MemoryFederation, prepare_with
from support.studies import FULL_BATCH, small_study

from fedpriv.coordinator.run_folder import RoundStarted, new_run
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.identity.keys import new_identity
from fedpriv.node.events import Refuse, Release, Reserve, Sign
from fedpriv.node.journal import DATABASE_FILE, HEAD_FILE
from fedpriv.secagg.messages import Envelope, Invitation, Refusal, Stage, decode, encode, refusal_in
from fedpriv.secagg.refusal import RefusalCode
from fedpriv.study import dump_study

ZERO_MODEL = np.zeros(PARAMETERS, "<f4").tobytes()


@pytest.fixture
def federation(tmp_path):
    made = MemoryFederation(tmp_path, small_study(FULL_BATCH))
    yield made
    made.close()


def invite(federation, *, round_number=1, run=None, study=None, roster=None, model=ZERO_MODEL):
    """What A answers to an invitation."""
    invitation = Invitation(
        run or federation.run.run,
        round_number,
        roster or federation.roster.digest,
        study or federation.study.digest,
    )
    request = Envelope(Stage.ADVERTISE, encode(invitation), model)
    return federation.members["A"].node.handle(request)


def code_of(reply):
    return decode(reply.body, Refusal).code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"study": bytes(32)}, RefusalCode.STUDY_NOT_APPROVED),
        ({"roster": bytes(32)}, RefusalCode.WRONG_ROSTER),
        ({"model": ZERO_MODEL[:-4]}, RefusalCode.WRONG_MODEL),
        ({"model": ZERO_MODEL[:-1]}, RefusalCode.WRONG_MODEL),
        ({"model": np.full(PARAMETERS, np.nan, "<f4").tobytes()}, RefusalCode.WRONG_MODEL),
    ],
)
def test_what_was_not_agreed_is_refused_and_recorded(federation, change, code):
    assert code_of(invite(federation, **change)) is code
    (refused,) = federation.events_of("A", Refuse)
    assert refused.code == code
    assert not federation.events_of("A", Reserve)
    assert not federation.events_of("A", Sign)


def test_a_refusal_says_a_code_and_nothing_else(federation):
    reply = invite(federation, study=bytes(32))
    assert reply.vector == b""
    assert reply.body == encode(Refusal(RefusalCode.STUDY_NOT_APPROVED))


def test_the_same_round_again_is_refused_also_after_a_restart(federation):
    federation.round()
    other_model = np.ones(PARAMETERS, "<f4").tobytes()
    assert code_of(invite(federation, model=other_model)) is RefusalCode.REPEATED_DIFFERENTLY
    assert code_of(invite(federation)) is RefusalCode.ROUND_REPLAYED
    assert len(federation.events_of("A", Reserve)) == 1


def test_a_hospital_whose_backup_was_restored_refuses_to_train(federation, tmp_path):
    federation.round()
    federation.copy_of("A", tmp_path / "backup")
    assert federation.round().outcome == "complete"
    federation.restore("A", tmp_path / "backup")  # and with it a budget that forgets the second round
    ended = federation.round()
    assert ended.dropped["A"] == "advertise: journal lost"
    assert len(federation.events_of("A", Reserve)) == 1
    (refused,) = federation.events_of("A", Refuse)
    assert "an old copy was restored" in refused.reason


def test_repeated_refusals_fill_no_journal(federation):
    for _ in range(5):
        invite(federation, study=bytes(32))
    assert len(federation.events_of("A", Refuse)) == 1


def test_one_round_too_many_is_refused_and_the_others_go_on(federation, tmp_path):
    rounds = federation.study.training.rounds
    assert [line.outcome for line in federation.rounds(rounds)] == ["complete"] * rounds
    reply = invite(federation, round_number=rounds + 1)
    assert code_of(reply) is RefusalCode.BUDGET_SPENT
    assert federation.members["A"].trainer.trained == rounds


def test_two_coordinators_share_one_budget(tmp_path):
    study = small_study(FULL_BATCH)
    federation = MemoryFederation(tmp_path, study)
    federation.rounds(2)
    other = new_run(federation.runs, study, np.zeros(PARAMETERS, np.float32))
    coordinator = federation.coordinator(other)
    outcomes = [coordinator.run_round(n, 3).outcome for n in range(1, 4)]
    assert outcomes == ["complete", "complete", "failed"]
    assert len(federation.events_of("A", Reserve)) == study.training.rounds
    federation.close()


def only_a_refuses(federation, ended, code, reason):
    """A says no with this code and keeps the reason; the round is complete without it, and A pays nothing."""
    assert ended.outcome == "complete"
    assert ended.cohort == ("B", "C")
    assert ended.dropped["A"] == f"advertise: {code}"
    (refused,) = federation.events_of("A", Refuse)
    assert reason in refused.reason
    assert not federation.members["A"].trainer.trained


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"smallest_cohort": 3}, "policy smallest_cohort is 3; the study goes on with 2 of 3 hospitals"),
        ({"largest_epsilon": 3.0}, "policy largest_epsilon is 3; the study's is 8"),
        ({"largest_delta": 1e-6}, "policy largest_delta is 1e-06; the study's is 1e-05"),
        ({"noise": ("distributed",)}, 'policy noise allows distributed; the study has noise = "local"'),
    ],
)
def test_a_hospital_with_a_stricter_policy_leaves_and_the_others_go_on(federation, policy, reason):
    member = federation.members["A"]
    strict = msgspec.structs.replace(member.home.config.policy, **policy)
    object.__setattr__(member.home, "config", msgspec.structs.replace(member.home.config, policy=strict))
    member.node = type(member.node)(member.home, member.journal, prepare_with(member.trainer))
    only_a_refuses(federation, federation.round(), "policy", reason)


def test_a_study_that_one_hospital_did_not_approve_goes_on_without_it(federation, tmp_path):
    other = small_study(("rounds = 4", "rounds = 3"), FULL_BATCH)
    path = tmp_path / "other.toml"
    path.write_text(dump_study(other))
    for name in ("B", "C"):
        member = federation.members[name]
        member.home.approve(member.journal, path)
    run = new_run(federation.runs, other, np.zeros(PARAMETERS, np.float32))
    ended = federation.round(federation.coordinator(run))
    only_a_refuses(federation, ended, "study not approved", other.digest.hex()[:16])


def test_what_one_coordinator_spent_another_cannot_spend_again(tmp_path):
    """A second consortium with a roster and an operator of its own, and one of the first one's hospitals."""
    study = small_study(FULL_BATCH)
    first = MemoryFederation(tmp_path / "first", study)
    first.rounds(3)
    first.close()
    (tmp_path / "second" / "A").mkdir(parents=True)
    for name in (DATABASE_FILE, HEAD_FILE):
        shutil.copy(tmp_path / "first" / "A" / name, tmp_path / "second" / "A" / name)
    identities = {"A": first.identities["A"], "B": new_identity("B"), "C": new_identity("C")}
    elsewhere = small_study(
        ('name = "small"', 'name = "elsewhere"'),
        ("epsilon = 8.0", "epsilon = 6.0"),
        ("rounds = 4", "rounds = 2"),
        FULL_BATCH,
    )
    second = MemoryFederation(tmp_path / "second", elsewhere, identities=identities, federation="other")
    assert second.roster.digest != first.roster.digest
    assert second.roster.coordinator.signing_key != first.roster.coordinator.signing_key
    after = composed_epsilon([study.cost_of(3), elsewhere.cost_of(1)], 1e-5).pld
    assert composed_epsilon([study.cost_of(3)], 1e-5).pld < 6 < after
    reason = (
        f"policy largest_epsilon is 6 for smears-A; one more round of elsewhere would make it {after:.4g}"
    )
    only_a_refuses(second, second.round(), "budget spent", reason)
    second.close()


def test_nothing_is_charged_before_the_shares_were_checked(federation):
    """A mailbox that breaks a rule costs nothing: the hospital trains only for a round that can be summed."""
    spoiled = b"\xc1"
    machine = federation.coordinator()._machine(1)
    requests = machine.open(ZERO_MODEL)
    for name, request in requests.items():
        machine.receive(name, federation.members[name].node.handle(request))
    for name, request in machine.advance().items():
        machine.receive(name, federation.members[name].node.handle(request))
    machine.advance()
    reply = federation.members["A"].node.handle(Envelope(Stage.UPLOAD, spoiled))
    assert code_of(reply) is RefusalCode.MALFORMED
    assert federation.members["A"].trainer.trained == 0
    assert not federation.events_of("A", Reserve)


def test_the_charge_is_on_disk_before_training_and_stays_when_training_fails(federation):
    trainer = federation.members["A"].trainer

    def broken(vector):
        assert len(federation.events_of("A", Reserve)) == 1
        raise MemoryError("out of memory on image 17 of patient X")

    trainer.train = broken
    ended = federation.round()
    assert ended.cohort == ("B", "C")
    assert ended.dropped["A"] == "upload: internal"
    assert len(federation.events_of("A", Reserve)) == 1
    assert not federation.events_of("A", Release)
    (refused,) = federation.events_of("A", Refuse)
    assert "patient" not in refused.reason


def test_every_answer_is_on_disk_before_it_leaves(federation):
    seen = []

    def look(name, request, reply):
        signs = federation.events_of(name, Sign)
        seen.append((name, request.stage, [sign.stage for sign in signs]))
        return reply

    federation.link.edit = look
    federation.round()
    assert len(seen) == 3 * len(Stage)
    for _, stage, signed in seen:
        assert signed == [int(s) for s in Stage if s <= stage]


def test_a_repeated_request_gets_the_same_bytes_and_trains_once(federation):
    replies = {}

    def again(name, request, reply):
        assert federation.members[name].node.handle(request) == reply
        replies[name, request.stage] = reply
        return reply

    federation.link.edit = again
    assert federation.round().outcome == "complete"
    assert len(replies) == 3 * len(Stage)
    assert all(member.trainer.trained == 1 for member in federation.members.values())


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.ADVERTISE])
def test_a_stage_outside_of_a_round_is_refused(federation, stage):
    assert code_of(federation.members["A"].node.handle(Envelope(stage, b""))) is RefusalCode.OUT_OF_ORDER


def test_a_full_disk_refuses_charges_nothing_and_heals(federation):
    journal = federation.members["A"].journal
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(1, 50):  # until the last page is full, too
        reply = invite(federation, round_number=number)
        if refusal_in(reply.body):
            break
    assert code_of(reply) is RefusalCode.INTERNAL
    rows = len(journal.rows)
    assert code_of(invite(federation, round_number=number + 1)) is RefusalCode.INTERNAL
    assert len(journal.rows) == rows
    assert not federation.events_of("A", Reserve)

    journal._connection.execute("PRAGMA max_page_count = 1000000")
    federation.run.append(RoundStarted(number + 1))
    assert federation.round().cohort == ("A", "B", "C")
    journal.close()
    home = federation.members["A"].home
    federation.members["A"].journal = home.open_journal()  # it verifies
