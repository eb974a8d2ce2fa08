"""From the hospitals' journals to the auditor's verdict, as each of them types it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support.memory import PARAMETERS, Member, MemoryLink, PlantedTrainer, prepare_with
from support.studies import FULL_BATCH, small_study

from fedpriv.cli.local_federation import found
from fedpriv.coordinator.bundle import write_bundle
from fedpriv.coordinator.home import Deadlines
from fedpriv.coordinator.rounds import Coordinator
from fedpriv.coordinator.run_folder import new_run, open_run
from fedpriv.node.home import Dataset
from fedpriv.node.hospital import Hospital


def member_of(home):
    journal, trainer = home.open_journal(), PlantedTrainer(np.ones(PARAMETERS))
    return Member(home, journal, trainer, Hospital(home, journal, prepare_with(trainer)))


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    """Homes of a coordinator and three hospitals, and a run of two rounds; the network is a call."""
    folder = tmp_path_factory.mktemp("federation")
    (folder / "images").mkdir()
    study = small_study(FULL_BATCH)
    datasets = {name: Dataset(name=f"smears-{name}", images=str(folder / "images")) for name in study.names}
    federation = found(folder, study, datasets)
    home = federation.coordinator
    members = {name: member_of(node) for name, node in federation.nodes.items()}
    coordinator = Coordinator(
        run=new_run(home.runs_folder, study, np.zeros(PARAMETERS, np.float32)),
        link=MemoryLink(members),
        identity=home.identity(),
        roster=home.roster(),
        deadlines=Deadlines(),
        observe=lambda event: None,
        known_heads={},
    )
    for position in (1, 2):
        assert coordinator.run_round(position, 2).outcome == "complete"
    for member in members.values():
        member.journal.close()
    (federation.run,) = home.runs_folder.iterdir()
    return federation


@pytest.fixture
def exports(fedpriv, federation, tmp_path):
    """The file that each admin wrote."""
    paths = []
    for name, node in federation.nodes.items():
        outcome = fedpriv("node", "export", federation.run.name, "--home", node.folder)
        assert outcome.code == 0, outcome.err
        paths.append(tmp_path / f"{name}.journal.json")
        assert outcome.out.startswith(f"{name}.journal.json: 20 rows of the run {federation.run.name[-32:]}")
        assert "next: send it to the operator" in outcome.out
    return paths


def bundled(fedpriv, federation, *paths):
    options = [word for path in paths for word in ("--journal", path)]
    return fedpriv("coordinator", "bundle", "--home", federation.coordinator.folder, *options)


def test_the_way_from_journals_to_a_verdict(fedpriv, federation, exports):
    outcome = bundled(fedpriv, federation, *exports)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{federation.run / 'bundle.zip'}, with 3 of 3 journals\n"
    roster = federation.coordinator.roster()
    outcome = fedpriv(
        "audit", "verify", federation.run / "bundle.zip", "--roster-fingerprint", roster.fingerprint
    )
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith(f"bundle  {federation.run / 'bundle.zip'}, SHA-256 ")
    assert lines[1] == f"roster  {roster.federation}  {roster.fingerprint}"
    assert lines[2].startswith(
        "run     small: 2 rounds charged, epsilon 4.377 (RDP 4.729) at delta 1e-05 per image"
    )
    assert "journal B: 2 rounds charged, epsilon 4.377 (RDP 4.729); in all studies 4.377" in lines
    assert lines[-1].endswith("claims hold")
    assert "not shown" not in outcome.out


def test_what_is_missing_is_said_and_is_no_failure(fedpriv, federation, exports):
    outcome = bundled(fedpriv, federation, exports[0])
    assert "not shown without the journals of B, C: what they charged" in outcome.out
    outcome = fedpriv("audit", "verify", federation.run / "bundle.zip")
    assert outcome.code == 0
    assert "?       not shown: roster: that it is the one which the hospitals pinned" in outcome.out
    assert "?       not shown: journal of C: what it charged" in outcome.out
    assert outcome.out.splitlines()[-1].endswith("claims hold, 3 not shown")


def test_as_json(fedpriv, federation, exports):
    bundled(fedpriv, federation, *exports[1:])
    found = fedpriv("audit", "verify", federation.run / "bundle.zip", "--json").json
    assert found["failures"] == []
    assert [gap["record"] for gap in found["not_shown"]] == ["roster", "journal of A"]
    assert [charged["hospital"] for charged in found["charged"]] == ["B", "C"]
    assert found["versions"]["fedpriv"]
    assert found["spent"]["pld"] > 0


def test_a_failed_claim_is_a_line_and_exit_code_1(fedpriv, federation, tmp_path):
    bundled(fedpriv, federation)
    record = federation.run / "rounds.jsonl"
    honest = record.read_bytes()
    try:
        record.write_bytes(honest.replace(b'"cohort":["A",', b'"cohort":[', 1))
        bundled(fedpriv, federation)
        outcome = fedpriv("audit", "verify", federation.run / "bundle.zip")
    finally:
        record.write_bytes(honest)
    assert outcome.code == 1
    assert "FAIL    round 1: its cohort is not who signed the updates in its sum" in outcome.out
    assert outcome.err.startswith("error: 1 claims fail, first round 1: ")


def test_another_fingerprint_is_refused(fedpriv, federation):
    bundled(fedpriv, federation)
    outcome = fedpriv("audit", "verify", federation.run / "bundle.zip", "--roster-fingerprint", "1 2 3")
    assert outcome.code == 1
    assert "another roster" in outcome.err


def test_the_fingerprint_is_compared_in_words_as_well(fedpriv, federation):
    bundled(fedpriv, federation)
    words = federation.coordinator.roster().words
    outcome = fedpriv("audit", "verify", federation.run / "bundle.zip", "--roster-fingerprint", words)
    assert outcome.code == 0, outcome.err


def test_a_hospital_holds_the_bundle_against_its_own_journal(fedpriv, federation, exports):
    bundled(fedpriv, federation, *exports)
    home = federation.nodes["A"].folder
    outcome = fedpriv("audit", "verify", federation.run / "bundle.zip", "--journal", home)
    assert outcome.code == 0, outcome.out
    assert "not shown" not in outcome.out


def test_a_bundle_of_a_roster_that_is_not_mine_fails(fedpriv, federation, tmp_path):
    bundled(fedpriv, federation)
    roster = tmp_path / "roster.toml"
    text = federation.coordinator.roster_path.read_text()
    roster.write_text(text.replace('federation = "small"', 'federation = "other"'))
    outcome = fedpriv("audit", "verify", federation.run / "bundle.zip", "--roster", roster)
    assert outcome.code == 1
    assert "FAIL    roster: the bundle has another one" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.zip"], "nowhere.zip: no such file"),
        (["."], "no such file"),
        (["garbage"], "garbage: not a bundle"),
        (["garbage", "--run", "."], "a bundle holds a run of its own"),
    ],
)
def test_what_is_no_bundle_is_a_mistake(fedpriv, tmp_path, words, message):
    (tmp_path / "garbage").write_bytes(b"garbage")
    outcome = fedpriv("audit", "verify", *words)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_file_larger_than_any_bundle_is_not_even_read(fedpriv, tmp_path):
    with (tmp_path / "huge.zip").open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no disk
    outcome = fedpriv("audit", "verify", "huge.zip")
    assert outcome.code == 2
    assert "no bundle is larger" in outcome.err


def test_an_export_of_another_run_is_refused(fedpriv, federation, tmp_path):
    home = federation.nodes["A"].folder
    fedpriv("node", "export", "0" * 32, "--home", home, "--out", "old.json")
    outcome = bundled(fedpriv, federation, tmp_path / "old.json")
    assert outcome.code == 2
    assert "old.json: exported for the run " + "0" * 32 in outcome.err
    assert f"hint: A runs `fedpriv node export {federation.run.name}`" in outcome.err


def test_an_export_that_was_changed_or_comes_twice_or_is_none_is_refused(
    fedpriv, federation, exports, tmp_path
):
    changed = tmp_path / "changed.json"
    changed.write_text(exports[0].read_text().replace('"hospital":"A"', '"hospital":"B"'))
    assert "changed.json: its export is not signed by B" in bundled(fedpriv, federation, changed).err
    assert "a second export of A" in bundled(fedpriv, federation, exports[0], exports[0]).err
    assert "no export of a journal" in bundled(fedpriv, federation, federation.coordinator.roster_path).err
    assert "cannot be read" in bundled(fedpriv, federation, tmp_path / "nowhere").err


def test_an_export_is_not_written_over_another(fedpriv, federation, exports):
    outcome = fedpriv("node", "export", "--home", federation.nodes["A"].folder)
    assert outcome.code == 2
    assert "A.journal.json exists already" in outcome.err


def test_a_name_that_is_no_runs_is_a_mistake(fedpriv, federation):
    outcome = fedpriv("node", "export", "run", "--home", federation.nodes["A"].folder)
    assert outcome.code == 2
    assert "'run' does not end in the 32 digits of a run" in outcome.err


def test_verifying_a_bundle_loads_no_tensorflow(federation, tmp_path):
    path = write_bundle(
        open_run(federation.run), federation.coordinator.roster(), federation.coordinator.identity()
    )
    words = ["audit", "verify", str(path), "--json"]
    code = f"import sys, fedpriv.cli.main as m; c = m.exit_code_of({words}); print(c, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, after = done.stdout.rsplit("\n0 ", 1)
    assert json.loads(said)["failures"] == []
    assert not {"tensorflow", "flwr"} & set(after.split())
