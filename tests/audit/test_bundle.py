"""An honest bundle verifies by itself; what it leaves open is said."""

import msgspec
import numpy as np
import pytest
from support.memory import PARAMETERS, MemoryFederation
from support.studies import DISTRIBUTED, FULL_BATCH, small_study

from fedpriv.audit.bundle import read_bundle
from fedpriv.audit.claims import Claims
from fedpriv.audit.verify import verify
from fedpriv.coordinator.archive import unpack
from fedpriv.coordinator.bundle import CARD, CONTENTS, ROUNDS, STUDY, VECTOR, Contents, write_bundle
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.model.folder import Card, card_for, load_model, save_model
from fedpriv.node.export import export_for
from fedpriv.node.hospital import Hospital, Prepared
from fedpriv.secagg.messages import Stage
from fedpriv.study import dump_study


def gaps(verdict):
    return {gap.record for gap in verdict.not_shown}


def test_an_honest_bundle_verifies(packed):
    found = packed.verdict(packed.bytes)
    study = packed.federation.study
    assert found.failures == ()
    assert found.not_shown == ()
    assert found.checked > 200
    assert found.spent == composed_epsilon([study.cost_of(2)], study.privacy.delta)
    assert [(charged.hospital, charged.rounds) for charged in found.charged] == [("A", 2), ("B", 2), ("C", 1)]
    assert found.charged[0].epsilon == found.charged[0].in_all == found.spent
    assert found.charged[2].epsilon == composed_epsilon([study.cost_of(1)], study.privacy.delta)


def test_without_journals_the_claims_about_them_are_not_shown(packed):
    journals = {path: None for path in packed.entries if path.startswith("journals/")}
    found = packed.verdict(packed.sealed(journals))
    assert found.failures == ()
    assert gaps(found) == {"journal of A", "journal of B", "journal of C"}
    assert found.charged == ()


def test_the_same_run_gives_the_same_bytes(packed):
    federation = packed.federation
    journals = {name: export_for(member.home, packed.run) for name, member in federation.members.items()}
    turned = dict(reversed(journals.items()))
    again = write_bundle(federation.run, federation.roster, federation.operator, turned)
    assert again.read_bytes() == packed.bytes


def test_the_contents_name_every_entry_and_the_versions(packed):
    contents = msgspec.json.decode(packed.entries[CONTENTS], type=Contents)
    assert list(packed.entries) == [CONTENTS, *contents.sha256]
    assert {"fedpriv", "python", "numpy", "dp-accounting"} <= set(contents.versions)
    assert contents.run == packed.run.hex()


def test_a_round_that_was_cut_short_by_a_crash_is_left_out(packed, tmp_path):
    record = packed.federation.run.folder / ROUNDS
    whole = record.read_bytes()
    try:
        record.write_bytes(whole + b'{"event":"sta')
        path = write_bundle(packed.federation.run, packed.federation.roster, packed.federation.operator)
        assert unpack(path.read_bytes(), "it")[ROUNDS] == whole
    finally:
        record.write_bytes(whole)


class PlantedSum:
    """Stands in for training with noise that hospitals share: integers, ready for the masked sum."""

    parameters = PARAMETERS

    def train(self, vector):
        return np.full(PARAMETERS, 1 << 23, dtype=np.int64)


def finished(folder, study, rounds=2):
    federation = MemoryFederation(folder, study)
    federation.rounds(rounds)
    federation.close()
    return federation


def read(federation):
    claims = Claims()
    path = write_bundle(
        federation.run,
        federation.roster,
        federation.operator,
        {name: export_for(member.home, federation.run.run) for name, member in federation.members.items()},
    )
    found = read_bundle(claims, path)
    return found, verify(claims, found.roster, found.run, found.journals)


def test_an_average_that_is_published_is_signed(tmp_path):
    study = small_study(FULL_BATCH, ("momentum = 0.9", "momentum = 0.9\naveraging = 0.5"))
    federation = finished(tmp_path, study)
    found, verdict = read(federation)
    last = found.run.ended[-1]
    assert found.run.card.model_digest == last.record.receipt.published_digest.hex() != last.model_after
    assert verdict.failures == ()
    assert gaps(verdict) == {"model"}


def test_a_round_that_failed_at_the_end_is_in_the_cards_epsilon(tmp_path):
    federation = MemoryFederation(tmp_path, small_study(FULL_BATCH))
    federation.round()
    federation.link.deaf.update({"B": Stage.UPLOAD, "C": Stage.UPLOAD})
    assert federation.round().outcome == "failed"
    federation.close()
    found, verdict = read(federation)
    assert verdict.failures == ()
    assert found.run.charged == 2
    assert found.run.card.rounds == 1
    assert found.run.card.privacy.epsilon == verdict.spent.pld


def test_another_model_than_the_published_average_is_found(tmp_path):
    study = small_study(FULL_BATCH, ("momentum = 0.9", "momentum = 0.9\naveraging = 0.5"))
    federation = finished(tmp_path, study)
    latest = federation.run.latest()
    card = load_model(federation.run.model_folder).card
    other = card_for(study, latest.vector, rounds=card.rounds, claim=card.privacy)
    save_model(federation.run.model_folder, other, latest.vector)
    _, verdict = read(federation)
    (failure,) = verdict.failures
    assert failure.record == "model card"
    assert "the last receipt names as published" in failure.reason


def test_with_shared_noise_epsilon_is_given_for_every_coalition(tmp_path):
    federation = MemoryFederation(tmp_path, small_study(FULL_BATCH, *DISTRIBUTED))
    for member in federation.members.values():
        member.node = Hospital(member.home, member.journal, lambda study: Prepared(PlantedSum(), bytes(32)))
    federation.rounds(2)
    federation.close()
    _, verdict = read(federation)
    assert verdict.failures == ()
    assert [coalition.colluders for coalition in verdict.coalitions] == [0, 1, 2]
    against = [coalition.epsilon for coalition in verdict.coalitions]
    assert against == sorted(against)
    assert verdict.coalitions[0].epsilon == pytest.approx(verdict.spent.pld)


def test_other_studies_are_closed_and_what_they_cost_is_not_shown(tmp_path):
    federation = MemoryFederation(tmp_path / "all", small_study(FULL_BATCH))
    other = small_study(FULL_BATCH, ('name = "small"', 'name = "secret-study"'))
    member = federation.members["A"]
    path = tmp_path / "other.toml"
    path.write_text(dump_study(other))
    member.home.approve(member.journal, path)
    federation.round()
    federation.close()
    found, verdict = read(federation)
    assert verdict.failures == ()
    assert gaps(verdict) == {"journal of A"}
    assert verdict.charged[0].in_all is None
    assert verdict.charged[1].in_all is not None
    assert b"secret-study" not in (federation.run.folder / "bundle.zip").read_bytes()
    (journal, *_) = found.journals
    assert (journal.closed, len(journal.heads)) == (1, len(journal.rows) + 1)


def test_no_round_at_all_is_no_failure(tmp_path):
    federation = MemoryFederation(tmp_path, small_study(FULL_BATCH))
    federation.close()
    path = write_bundle(federation.run, federation.roster, federation.operator)
    claims = Claims()
    found = read_bundle(claims, path)
    assert verify(claims, found.roster, found.run, found.journals).failures == ()
    assert CARD not in unpack(path.read_bytes(), "it")


def test_what_is_in_it_is_what_lies_in_the_run(packed):
    folder = packed.federation.run.folder
    for path in (STUDY, ROUNDS, CARD, VECTOR):
        assert packed.entries[path] == (folder / path).read_bytes()
    card = msgspec.json.decode(packed.entries[CARD], type=Card)
    assert card.parameters == np.load(folder / VECTOR).size
