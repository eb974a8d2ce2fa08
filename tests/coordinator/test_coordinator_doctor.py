"""What the operator's doctor finds: a coordinator in order, and one fault at a time, each with its fix."""

import datetime as dt
import json
import os
import shutil
import socket
import time

import numpy as np
import pytest
from support.memory import PARAMETERS
from support.rosters import sealed
from support.studies import FULL_BATCH, small_study, study_text

from fedpriv import diagnosis
from fedpriv.cli.main import exit_code_of
from fedpriv.coordinator import ceremony, doctor, service
from fedpriv.coordinator.home import CONFIG, Deadlines, init_home, neighbours, open_home
from fedpriv.coordinator.run_folder import RoundEnded, RoundStarted, new_run
from fedpriv.coordinator.superlink import DATABASE
from fedpriv.diagnosis import Health
from fedpriv.identity import keys, tls
from fedpriv.identity.enrolment import collect, new_request
from fedpriv.identity.roster import dump_roster
from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.terms import model_digest
from fedpriv.study import dump_study

HOSPITALS = [keys.new_identity(name) for name in "ABC"]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A coordinator with a roster and a study for it, not open."""
    folder = tmp_path_factory.mktemp("coordinator")
    home = init_home(
        folder / "K",
        name="consortium",
        hosts=("localhost",),
        listen=neighbours("127.0.0.1:9"),
        deadlines=Deadlines(),
    )
    draft = collect("test", home.operator(), [new_request(one) for one in HOSPITALS])
    home.roster_path.write_text(dump_roster(sealed(draft, home.identity(), *HOSPITALS)))
    (folder / "study.toml").write_text(dump_study(small_study(FULL_BATCH)))
    return folder


@pytest.fixture
def home(template, tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "clock_is_kept", lambda: True)
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        ports = []
        for probe in (one, two, three):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    config = tmp_path / "K" / CONFIG
    text = config.read_text()
    for old, new in zip((9, 8, 10), ports, strict=True):
        text = text.replace(f'"127.0.0.1:{old}"', f'"127.0.0.1:{new}"')
    config.write_text(text)
    return open_home(tmp_path / "K")


def diagnoses(home, **how):
    how = {"study_path": home.folder.parent / "study.toml"} | how
    return {found.subject: found for found in doctor.examine(home.folder, **how)}


def finds(home, subject, health, found, fix="", **how):
    diagnosis = diagnoses(home, **how)[subject]
    assert diagnosis.health is health
    assert found in diagnosis.found
    assert fix in (diagnosis.fix or "")


def test_a_coordinator_in_order_is_all_ok(home):
    found = list(doctor.examine(home.folder, study_path=home.folder.parent / "study.toml"))
    assert [line for line in found if line.health is not Health.OK] == []
    assert [line.subject for line in found] == [
        *("versions", "coordinator.toml", "disk", "permissions", "clock", "keys", "authority", "certificate"),
        *("flower", "roster", "ports", "study"),
    ]
    assert "3 hospitals, 2 must be in a sum, 2 must agree, 0 may collude" in found[-1].found
    assert home.roster().fingerprint in found[-3].found


def test_no_coordinator_and_a_broken_configuration_are_one_line(home, tmp_path):
    assert list(diagnoses(open_home(home.folder))) != []
    (nothing,) = [line for line in doctor.examine(tmp_path / "none") if line.health is Health.FAIL]
    assert "no coordinator here" in nothing.found
    path = home.folder / CONFIG
    path.write_text(path.read_text().replace("[listen]", "[listem]"))
    assert set(diagnoses(home)) == {"versions", CONFIG}


def test_keys_that_others_can_read(home):
    (home.tls_folder / tls.CA_KEY_FILE).chmod(0o644)
    finds(home, "keys", Health.FAIL, "is open to other users", "chmod 600")


def test_a_home_that_others_can_write(home):
    home.folder.chmod(0o777)
    finds(home, "permissions", Health.FAIL, "others can write", "chmod go-w")
    home.folder.chmod(0o755)
    home.flower_folder.mkdir()
    home.flower_folder.chmod(0o755)
    finds(home, "permissions", Health.WARN, "others can read", "chmod go-rwx")


def test_no_roster_and_one_that_waits(home):
    roster = home.roster()
    home.roster_path.unlink()
    finds(home, "roster", Health.FAIL, "no roster yet", "fedpriv keys enrol")
    assert diagnoses(home)["ports"].health is Health.OK
    home.roster_path.write_text(dump_roster(roster))
    ceremony.draft(home, [], leaves=["C"])
    finds(
        home,
        "draft",
        Health.WARN,
        "roster number 2 waits for the countersignatures of A, B, consortium",
        "seal",
    )
    home.draft_path.write_text("nonsense")
    finds(home, "draft", Health.FAIL, "is not TOML")


@pytest.mark.parametrize(
    ("validity", "health", "found"),
    [
        (dt.timedelta(seconds=-60), Health.FAIL, "expired on"),
        (dt.timedelta(days=9), Health.WARN, "8 days left"),
    ],
)
def test_a_server_certificate_that_has_ended_or_soon_will(home, monkeypatch, validity, health, found):
    monkeypatch.setattr(tls, "SERVER_VALIDITY", validity)
    ceremony.renew_certificate(home)
    finds(home, "certificate", health, found, "fedpriv coordinator certificate")


def test_an_authority_that_soon_ends(home, monkeypatch):
    monkeypatch.setattr(tls, "AUTHORITY_VALIDITY", dt.timedelta(days=9))
    shutil.rmtree(home.tls_folder)
    tls.save(tls.new_server_credentials("x", ["localhost", "127.0.0.1"]), home.tls_folder)
    finds(home, "authority", Health.WARN, "8 days left", "--new-authority")
    finds(home, "roster", Health.FAIL, "names another coordinator")


def test_a_certificate_for_a_name_that_nobody_knows(home):
    ceremony.renew_certificate(home, ["fed.invalid"])
    finds(home, "names", Health.WARN, "no address is known here for fed.invalid", "--host")


def test_ports_that_somebody_else_has(home):
    host, _, port = home.config.listen.fleet.rpartition(":")
    with socket.create_server((host, int(port))):
        finds(home, "ports", Health.FAIL, f"cannot listen on {host}:{port}", "coordinator.toml")


def test_who_is_online_if_it_is_open(home, monkeypatch):
    class Open:
        def online(self):
            return {"A"}

    monkeypatch.setattr(service, "members", lambda home: Open())
    finds(home, "ports", Health.OK, "open, 1 of 3 hospitals online: without B, C")
    finds(home, "study", Health.WARN, "only 1 are online", "wait for B, C")
    monkeypatch.setattr(Open, "online", lambda self: {"A", "B", "C"})
    finds(home, "study", Health.OK, "3 are online")


def test_a_damaged_database_of_flower(home):
    home.flower_folder.mkdir(mode=0o700)
    (home.flower_folder / DATABASE).write_bytes(b"garbage" * 1000)
    finds(home, "flower", Health.FAIL, "not a database", "move")


def test_studies_that_cannot_run(home):
    path = home.folder.parent / "study.toml"
    finds(home, "study", Health.WARN, "none was named", "--study FILE", study_path=None)
    for text, found in [
        (study_text(), "has no noise_multiplier yet"),
        (dump_study(small_study(("C = 60", "Z = 60"), FULL_BATCH)), "has no hospital Z"),
        (
            dump_study(small_study(('name = "smear-cnn"', 'name = "resnet"'), FULL_BATCH)),
            "no network 'resnet'",
        ),
        ("nonsense", "is not TOML"),
    ]:
        path.write_text(text)
        finds(home, "study", Health.FAIL, found)


def ended(run, number, roster_digest):
    """A round that failed before anybody had answered."""
    machine = CoordinatorRound(
        terms=run.study.round_terms(
            run=run.run, round_number=number, roster_digest=roster_digest, parameters=PARAMETERS
        ),
        roster={one.name: one.signing_public_key for one in HOSPITALS},
        signing_key=HOSPITALS[0].signing_key,
    )
    machine.open(bytes(4 * PARAMETERS))
    run.append(RoundStarted(number))
    before = run.latest_vector()
    digest = model_digest(before.tobytes()).hex()
    run.append(RoundEnded(number, "failed", (), {}, (), "nobody came", digest, digest, {}, machine.record))


def test_the_last_run_and_a_clock_that_went_back(home):
    run = new_run(home.runs_folder, small_study(FULL_BATCH), np.zeros(PARAMETERS, np.float32))
    ended(run, 1, home.roster().digest)
    finds(home, "last run", Health.OK, "0 of 1 rounds complete", study_path=None)
    finds(home, "study", Health.OK, "small, planned for epsilon 8", study_path=None)
    ended(run, 2, bytes(32))
    finds(home, "last run", Health.FAIL, "round 2 of", "restore the newest")
    record = run.folder / "rounds.jsonl"
    later = time.time() + 86_400
    os.utime(record, (later, later))
    finds(home, "clock", Health.FAIL, "the last record of a run is of", "set the clock")
    record.write_text("nonsense\n")
    finds(home, "last run", Health.FAIL, "line 1")


def test_versions_are_compared_with_those_of_another_member(home, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_text(
        json.dumps([{"subject": "versions", "health": "ok", "found": "fedpriv 0.0.1, numpy 1.26.4"}])
    )
    found = diagnoses(home, compare=path)["versions equal"]
    assert found.health is Health.WARN
    assert found.found.startswith("fedpriv ")
    assert found.found.endswith(" here and 0.0.1 there")
    assert "numpy" not in found.found


def test_the_command_tells_all_and_exits_with_1_if_something_fails(home, capsys, tmp_path):
    line = ["coordinator", "doctor", "--home", str(home.folder), "--study", str(tmp_path / "study.toml")]
    assert exit_code_of(line) == 0
    assert capsys.readouterr().out.count("\nok ") == 11
    assert exit_code_of([*line, "--json"]) == 0
    theirs = tmp_path / "own.json"
    theirs.write_text(capsys.readouterr().out)
    assert exit_code_of([*line, "--compare", str(theirs)]) == 0
    assert "ok    versions equal" in capsys.readouterr().out
    home.roster_path.unlink()
    assert exit_code_of(line) == 1
    assert "checks fail: roster" in capsys.readouterr().err
    theirs.write_text("{}")
    assert exit_code_of([*line, "--compare", str(theirs)]) == 2
    assert "is not what a doctor prints as JSON" in capsys.readouterr().err
