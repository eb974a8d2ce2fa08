"""An honest run verifies; whatever is changed in its record is named."""

import msgspec
import numpy as np
import pytest
from support.tampering import (
    REORDERED,
    SIGNED,
    TAMPERED,
    first_with,
    flipped,
    in_record,
    with_lines,
    with_round,
)

from fedpriv.audit.claims import Claims
from fedpriv.audit.evidence import read_hospital, read_run
from fedpriv.audit.verify import verify
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import HomeError
from fedpriv.model.folder import CARD_FILE, Card

replace = msgspec.structs.replace


def verdict(desk, *hospitals, run=True):
    claims, roster = Claims(), desk.federation.roster
    evidence = read_run(claims, desk.run) if run else None
    journals = [read_hospital(claims, desk.home(name), roster) for name in hospitals]
    return verify(claims, roster, evidence, [journal for journal in journals if journal])


def edit_round(desk, number, change):
    """Replace the ended round ``number`` by what ``change`` makes of it."""
    desk.record.write_bytes(with_round(desk.record.read_bytes(), number, change))


def test_an_honest_run_verifies_with_all_journals(desk):
    found = verdict(desk, "A", "B", "C")
    assert found.failures == ()
    assert found.checked > 100
    study = desk.federation.study
    assert found.spent == composed_epsilon([study.cost_of(2)], study.privacy.delta)
    assert found.spent.rdp >= found.spent.pld > 0


def test_a_run_that_is_named_by_a_link(desk):
    link = desk.folder / "run"
    link.symlink_to(desk.run)
    evidence = read_run(Claims(), link)
    assert evidence.run == desk.federation.run.run


def test_without_journals_and_without_a_run(desk):
    assert verdict(desk).failures == ()
    assert verdict(desk, "A", run=False).failures == ()


@pytest.mark.parametrize("what", SIGNED)
def test_one_bit_of_a_signed_message_is_named(desk, what):
    messages, part, place = SIGNED[what]
    edit_round(desk, 1, in_record(**{messages: first_with(**{part: flipped})}))
    assert f"round 1, {place}" in {failure.record for failure in verdict(desk).failures}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_round_is_named(desk, what):
    change, place = TAMPERED[what]
    edit_round(desk, 1, change)
    assert place in {failure.record for failure in verdict(desk).failures}


@pytest.mark.parametrize("what", REORDERED)
def test_rounds_that_are_dropped_moved_or_repeated_are_found(desk, what):
    change, place = REORDERED[what]
    desk.record.write_bytes(with_lines(desk.record.read_bytes(), change))
    assert place in {failure.record for failure in verdict(desk, "A", "B", "C").failures}


@pytest.mark.parametrize("number", [-1, 0, 2**32, 2**63])
def test_a_number_that_no_round_has_is_a_failure_and_no_crash(desk, number):
    edit_round(desk, 1, lambda line: replace(line, round=number))
    assert f"round {number}" in {failure.record for failure in verdict(desk).failures}


def test_a_run_whose_folder_was_renamed_is_a_mistake(desk):
    with pytest.raises(HomeError, match="does not end in a run's identifier"):
        read_run(Claims(), desk.run.rename(desk.folder / "renamed"))


def test_a_line_that_is_no_line_is_named(desk):
    desk.record.write_bytes(desk.record.read_bytes().replace(b'"event":"ended"', b'"event":"eaten"', 1))
    (failure,) = verdict(desk).failures
    assert "rounds.jsonl, line 2" in failure.reason


def edit_card(desk, **changes):
    path = desk.run / "model" / CARD_FILE
    card = msgspec.json.decode(path.read_bytes(), type=Card)
    path.write_bytes(msgspec.json.encode(replace(card, **changes)))


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ({"epsilon": 0.1}, "it claims epsilon 0.1"),
        ({"epsilon": None}, "it claims epsilon inf"),
        ({"delta": 1e-9}, "delta 1e-09"),
        ({"unit": "patient"}, "unit patient"),
    ],
)
def test_an_edited_claim_is_found(desk, claim, reason):
    card = msgspec.json.decode((desk.run / "model" / CARD_FILE).read_bytes(), type=Card)
    edit_card(desk, privacy=replace(card.privacy, **claim))
    failures = verdict(desk).failures
    assert {failure.record for failure in failures} == {"model card"}
    assert reason in failures[0].reason


def test_a_card_that_counts_other_rounds_or_names_another_study_is_found(desk):
    edit_card(desk, rounds=7, study_digest="00" * 32)
    assert len(verdict(desk).failures) == 2


def test_swapped_weights_are_found(desk):
    np.save(desk.run / "model" / "model.npy", np.ones(50, "<f4"))
    assert {failure.record for failure in verdict(desk).failures} >= {"model"}


def test_an_edited_study_fails_every_round(desk):
    path = desk.run / "study.toml"
    path.write_text(path.read_text().replace("epsilon = 8.0", "epsilon = 4.0"))
    assert {"round 1", "round 2"} <= {failure.record for failure in verdict(desk).failures}


def test_a_study_with_a_hospital_that_the_roster_lacks_is_found(desk):
    path = desk.run / "study.toml"
    path.write_text(path.read_text().replace("C = 60", "D = 60"))
    assert [failure.record for failure in verdict(desk).failures] == ["study"]


def test_a_hospital_that_charged_a_round_which_the_record_hides_is_a_witness(desk):
    desk.record.write_bytes(with_lines(desk.record.read_bytes(), lambda lines: lines[:3]))
    reasons = [failure.reason for failure in verdict(desk, "A").failures]
    assert "round 2 was charged and is not in the record" in reasons
