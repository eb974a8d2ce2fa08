"""Rounds over a link in memory: what moves, what is recorded, what a loss or a refusal does."""

import msgspec
import numpy as np
import pytest
from support.memory import PARAMETERS, MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.coordinator import events
from fedpriv.coordinator.rounds import charged_rounds, claim_of
from fedpriv.coordinator.run_folder import RoundStarted, open_run
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import Unreachable
from fedpriv.model.folder import load_model
from fedpriv.node.events import Close, Release, Reserve
from fedpriv.secagg.messages import Envelope, HeldShare, RoundReceipt, Stage, UnmaskShares, decode, encode

BEFORE_TRAINING = (Stage.ADVERTISE, Stage.SHARE)
AFTER_UPLOAD = (Stage.AGREE, Stage.UNMASK, Stage.CLOSE)


@pytest.fixture
def federation(tmp_path):
    made = MemoryFederation(tmp_path, small_study(FULL_BATCH))
    yield made
    made.close()


def test_a_round_moves_the_model_by_the_sum(federation):
    ended = federation.round()
    assert ended.outcome == "complete"
    assert ended.cohort == ("A", "B", "C")
    expected = sum(member.trainer.update for member in federation.members.values())
    step = federation.study.training.update_range / (2**15 - 1)
    assert np.abs(federation.run.latest_vector() - expected).max() <= 3 * step


def test_what_is_left_without_a_hospital_is_scaled_to_its_share(federation):
    federation.link.deaf["B"] = Stage.SHARE
    federation.round()
    units = federation.study.hospitals
    present = (units["A"] + units["C"]) / federation.study.units
    expected = sum(federation.members[name].trainer.update for name in "AC") / present
    assert np.abs(federation.run.latest_vector() - expected).max() <= 1e-4


@pytest.mark.parametrize("stage", list(Stage))
def test_one_loss_is_tolerated_at_every_stage(federation, stage):
    federation.link.deaf["B"] = stage
    ended = federation.round()
    assert ended.outcome == "complete"
    line = federation.run.lines()[-1] if stage is Stage.CLOSE else ended
    assert line.dropped == {"B": f"{stage.name.lower()}: did not answer in time"}
    assert ended.cohort == (("A", "B", "C") if stage in AFTER_UPLOAD else ("A", "C"))
    federation.link.deaf.clear()
    assert federation.round().cohort == ("A", "B", "C")


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.CLOSE])
def test_two_losses_fail_closed_at_every_stage(federation, stage):
    before = federation.run.latest_vector()
    federation.link.deaf |= dict.fromkeys("AB", stage)
    ended = federation.round()
    assert ended.outcome == "failed"
    assert ended.reason
    assert ended.cohort == ()
    assert ended.model_after == ended.model_before
    assert (federation.run.latest_vector() == before).all()
    assert charged_rounds(federation.run) == (0 if stage in BEFORE_TRAINING else 1)
    assert not (federation.run.model_folder / "card.json").exists()


def test_a_hospital_that_is_offline_is_not_asked(federation):
    federation.link.deaf["C"] = "offline"
    ended = federation.round()
    assert ended.cohort == ("A", "B")
    assert {name for name, _ in federation.link.asked} == {"A", "B"}
    (began,) = [event for event in federation.seen if isinstance(event, events.RoundBegan)]
    assert began.absent == ("C",)
    assert any(isinstance(event, events.Waiting) for event in federation.seen)


def test_the_claim_counts_every_round_that_was_trained_in(federation):
    federation.round()
    federation.link.deaf |= dict.fromkeys("AB", Stage.AGREE)
    assert federation.round().outcome == "failed"
    federation.link.deaf.clear()
    federation.round()
    study = federation.study
    spent = composed_epsilon([study.cost_of(3)], study.privacy.delta).pld
    assert claim_of(federation.run).epsilon == pytest.approx(spent)
    card = load_model(federation.run.model_folder).card
    assert card.rounds == 2
    assert card.privacy.epsilon == pytest.approx(spent)


def test_a_share_that_does_not_fit_is_recorded_and_costs_no_round(tmp_path):
    federation = MemoryFederation(tmp_path, small_study(FULL_BATCH))

    def lie(name, request, reply):
        if request.stage is not Stage.UNMASK or name != "A":
            return reply
        answer = decode(reply.body, UnmaskShares)
        wrong = tuple(HeldShare(held.owner, bytes(33)) for held in answer.self_mask_shares)
        answer = msgspec.structs.replace(answer, self_mask_shares=wrong)
        key = federation.members["A"].home.identity().signing_key
        return Envelope(reply.stage, encode(answer.sealed_by(key)))

    federation.link.edit = lie
    ended = federation.round()
    federation.close()
    assert (ended.outcome, ended.cohort) == ("complete", ("A", "B", "C"))
    assert ended.dropped == {"A": "unmask: its share of A does not fit"}


def test_a_crash_in_a_round_costs_its_number_and_its_charge(federation):
    federation.round()
    federation.run.append(RoundStarted(2))  # and then the coordinator was killed
    again = open_run(federation.run.folder)
    assert again.next_round() == 3
    assert charged_rounds(again) == 2
    ended = federation.round(federation.coordinator(again))
    assert (ended.round, ended.outcome) == (3, "complete")


def test_a_run_goes_on_from_its_last_complete_round(federation):
    first = federation.round()
    federation.link.deaf |= dict.fromkeys("AB", Stage.UNMASK)
    federation.round()
    federation.link.deaf.clear()
    again = open_run(federation.run.folder)
    third = federation.round(federation.coordinator(again))
    assert third.model_before == first.model_after


def test_ctrl_c_in_a_round_is_recorded(federation):
    def interrupt(name, request, reply):
        if request.stage is Stage.UPLOAD:
            raise KeyboardInterrupt
        return reply

    federation.link.edit = interrupt
    with pytest.raises(KeyboardInterrupt):
        federation.round()
    last = federation.run.lines()[-1]
    assert (last.outcome, last.reason) == ("failed", "interrupted")
    assert last.asked_to_train == ("A", "B", "C")


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), Unreachable("the door was closed")], ids=repr)
def test_a_round_whose_receipts_are_out_is_complete_whatever_ends_it(federation, fault):
    def fail(name, request, reply):
        if request.stage is Stage.CLOSE and name == "B":
            raise fault
        return reply

    federation.link.edit = fail
    with pytest.raises(type(fault)):
        federation.round()
    _, ended, acknowledged = federation.run.lines()
    assert (ended.outcome, ended.cohort) == ("complete", ("A", "B", "C"))
    assert [entry.name for entry in acknowledged.acknowledgements] == ["A"]
    (closed,) = federation.events_of("A", Close)
    assert decode(closed.receipt, RoundReceipt) == ended.record.receipt
    assert ended.record.receipt.model_digest_after.hex() == ended.model_after
    assert load_model(federation.run.model_folder).card.rounds == 1
    federation.link.edit = lambda _name, _request, reply: reply
    assert federation.round(federation.coordinator(open_run(federation.run.folder))).model_before == (
        ended.model_after
    )


def test_no_receipt_leaves_before_the_round_is_on_disk(federation):
    seen = []

    def look(name, request, reply):
        if request.stage is Stage.CLOSE:
            seen.append((open_run(federation.run.folder).completed()[-1].round, request))
            assert federation.run.latest_vector().any()
        return reply

    federation.link.edit = look
    federation.round()
    assert [number for number, _ in seen] == [1, 1, 1]


def test_a_link_that_is_lost_in_a_round_is_recorded(federation):
    def lose(name, request, reply):
        if request.stage is Stage.AGREE:
            raise Unreachable("the SuperLink went away")
        return reply

    federation.link.edit = lose
    with pytest.raises(Unreachable):
        federation.round()
    last = federation.run.lines()[-1]
    assert (last.outcome, last.reason) == ("failed", "the SuperLink went away")
    assert last.record.receipt is None


def test_each_side_keeps_what_the_other_signed(federation):
    ended = federation.round()
    assert ended.record.receipt is not None
    assert [entry.name for entry in federation.run.lines()[-1].acknowledgements] == ["A", "B", "C"]
    for name in "ABC":
        (closed,) = federation.events_of(name, Close)
        assert closed.round == ended.round
        (reserve,) = federation.events_of(name, Reserve)
        assert reserve.charge == federation.study.cost_of(1)
        assert len(federation.events_of(name, Release)) == 1


def test_the_vector_has_the_length_of_the_study(federation):
    assert federation.run.latest_vector().size == PARAMETERS
