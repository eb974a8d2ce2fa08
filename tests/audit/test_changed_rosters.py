"""A run that goes on while keys are exchanged: one bundle, each round by the roster of its time."""

from dataclasses import replace

import pytest
from support.memory import MemoryFederation
from support.rosters import pin_here
from support.studies import FULL_BATCH, small_study

from fedpriv.audit.bundle import read_bundle
from fedpriv.audit.claims import Claims
from fedpriv.audit.verify import verify
from fedpriv.coordinator.bundle import write_bundle
from fedpriv.coordinator.run_folder import RoundEnded
from fedpriv.node.budget import charges_of
from fedpriv.node.export import export_for
from fedpriv.secagg.refusal import RefusalCode


@pytest.fixture
def federation(tmp_path):
    made = MemoryFederation(tmp_path / "all", small_study(FULL_BATCH))
    assert made.round().outcome == "complete"
    yield made
    made.close()


def bundle_of(federation, roster=None):
    run = federation.run.run
    journals = {name: export_for(member.home, run) for name, member in federation.members.items()}
    return write_bundle(federation.run, roster or federation.roster, federation.operator, journals)


def verdict(federation, roster=None):
    claims = Claims()
    packed = read_bundle(claims, bundle_of(federation, roster))
    return verify(claims, packed.roster, packed.run, packed.journals)


@pytest.mark.parametrize("change", [{}, {"operator": True}])
def test_a_bundle_that_spans_a_rotation_verifies(federation, change):
    federation.follow("B", **change)
    assert federation.round().cohort == ("A", "B", "C")
    federation.follow("A", "B")
    assert federation.round().cohort == ("A", "B", "C")
    found = verdict(federation)
    assert found.failures == ()
    assert found.not_shown == ()
    used = [line.record.roster_digest for line in federation.run.lines() if isinstance(line, RoundEnded)]
    assert used == [roster.digest for roster in federation.roster.lineage]
    assert [(charged.hospital, charged.rounds) for charged in found.charged] == [("A", 3), ("B", 3), ("C", 3)]


def test_a_rotation_after_the_last_round_changes_nothing(federation):
    federation.follow("B", operator=True)
    assert verdict(federation).failures == ()


def test_a_lost_key_is_said_to_an_auditor(federation):
    federation.follow("C", lost=("C",))
    assert federation.round().cohort == ("A", "B", "C")
    found = verdict(federation)
    assert found.failures == ()
    ((record, reason),) = [(gap.record, gap.reason) for gap in found.not_shown]
    assert record.startswith("journal of C, row ")
    assert "the old signing key was lost" in reason
    assert {charged.hospital: charged.rounds for charged in found.charged}["C"] == 2


def test_a_later_roster_verifies_a_bundle_that_was_written_before(federation):
    path = bundle_of(federation)
    federation.follow("B", operator=True)
    claims = Claims()
    packed = read_bundle(claims, path)
    assert verify(claims, federation.roster, packed.run, packed.journals).failures == ()


def test_a_round_under_a_roster_that_the_bundle_has_not_is_found(federation):
    before = federation.roster
    federation.follow("B")
    federation.round()
    reasons = {failure.reason for failure in verdict(federation, before).failures}
    assert "its record is of another roster" in reasons


def test_a_round_that_went_back_to_a_replaced_roster_is_found(federation):
    federation.follow("B")
    federation.round()
    claims = Claims()
    packed = read_bundle(claims, bundle_of(federation))
    backwards = replace(packed.run, lines=tuple(reversed(packed.run.lines)))
    found = verify(claims, packed.roster, backwards, packed.journals)
    assert "it has roster number 1, after a round with number 2" in {
        failure.reason for failure in found.failures
    }


def test_a_roster_without_all_countersignatures_is_found(federation):
    federation.follow("B")
    bare = replace(federation.roster, countersignatures=federation.roster.countersignatures[1:])
    failed = [(failure.record, failure.reason) for failure in verdict(federation, bare).failures]
    assert failed == [("roster", "roster number 2 is not countersigned by A: it is not in force")]


# The hospitals' side of it.


def test_who_has_not_pinned_the_new_roster_is_out_of_the_round(federation):
    federation.follow("B", without=("C",))
    ended = federation.round()
    assert ended.outcome == "complete"
    assert ended.cohort == ("A", "B")
    assert "wrong roster" in ended.dropped["C"]
    federation.members["C"].journal.close()
    pin_here(federation.members["C"].home.folder, federation.roster)
    federation._reopen("C")
    assert federation.round().cohort == ("A", "B", "C")


def test_a_coordinator_with_the_older_roster_gets_nothing(federation):
    older = federation.roster
    federation.follow("B")
    federation.roster = older
    ended = federation.round()
    assert ended.outcome == "failed"
    assert all("wrong roster" in reason for reason in ended.dropped.values())


def test_new_keys_are_no_new_budget(federation):
    """Four rounds are approved and paid for; three keys on the way change nothing about that."""
    for lost in ((), ("A",), ()):
        federation.follow("A", lost=lost)
        assert federation.round().outcome == "complete"
    rows = federation.members["A"].journal.rows
    assert len(charges_of(rows, "smears-A")) == 4
    federation.follow("A")
    assert "budget spent" in federation.round().dropped["A"] or "policy" in federation.round().dropped["A"]


def test_a_hospital_that_lost_its_home_trains_no_more(federation):
    """Its new journal never had the head that the coordinator was told: nobody knows what was spent."""
    federation.follow("C", lost=("C",))
    folder = federation.members["C"].home.folder
    federation.members["C"].journal.close()
    for path in [*folder.glob("journal.*")]:
        path.unlink()
    pin_here(folder, federation.roster)
    with federation.members["C"].home.open_journal() as journal:
        federation.members["C"].home.approve(journal, folder.parent / "study.toml")
    federation._reopen("C")
    ended = federation.round()
    assert ended.cohort == ("A", "B")
    assert RefusalCode.JOURNAL_LOST.name.lower().replace("_", " ") in ended.dropped["C"]
