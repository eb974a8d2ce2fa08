"""What a doctor finds: a healthy home, and one fault at a time, each with its line and its fix."""

import datetime as dt
import itertools
import json
import shutil
from typing import NamedTuple

import pytest
from support.charges import charge, pictures
from support.examined import OPERATOR, OTHERS, configure, diagnoses, fails, study
from support.rosters import sealed

from fedpriv import diagnosis
from fedpriv.cli.main import exit_code_of
from fedpriv.diagnosis import Health
from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.identity import keys
from fedpriv.identity.enrolment import succeed
from fedpriv.identity.roster import dump_roster
from fedpriv.identity.rotation import rotate
from fedpriv.node import doctor
from fedpriv.node.budget import rounds_that_fit
from fedpriv.node.doctor import examine
from fedpriv.node.events import Reserve
from fedpriv.node.journal import DATABASE_FILE, HEAD_FILE


def test_a_home_in_order_is_all_ok(home):
    found = list(examine(home.folder))
    assert [diagnosis for diagnosis in found if diagnosis.health is not Health.OK] == []
    assert [diagnosis.subject for diagnosis in found] == [
        *("versions", "node.toml", "disk", "permissions", "keys", "journal", "clock", "roster", "authority"),
        "coordinator",
        *("budget", "study small", "images", "units", "dataset", "patients", "image files"),
    ]


def test_what_an_admin_reads_over_the_phone_is_shown(home):
    found = diagnoses(home)
    assert home.roster(home.rows()).fingerprint in found["roster"].found
    assert "A, calls 127.0.0.1:" in found["node.toml"].found
    assert "epsilon 0 of 8 spent at delta 1e-05, 0 rounds" in found["budget"].found
    assert found["study small"].found == "0 rounds charged, 4 approved rounds left, all fit the budget"


# The home.


def test_a_broken_configuration_is_one_line_and_the_rest_is_not_asked(home):
    configure(home, "largest_epsilon", "largest_epslion")
    found = diagnoses(home)
    assert set(found) == {"versions", "node.toml"}
    assert "largest_epslion" in found["node.toml"].found


def test_no_home_at_all(tmp_path):
    (_, found) = examine(tmp_path)
    assert found.health is Health.FAIL
    assert "no node here" in found.found


def test_keys_that_others_can_read(home):
    (home.identity_folder / keys.SIGNING_KEY_FILE).chmod(0o644)
    fails(home, "keys", "is open to other users (mode 644)", "chmod 600")


def test_keys_of_another_hospital(home):
    configure(home, 'name = "A"', 'name = "B"')
    fails(home, "keys", "they are A's, and node.toml says B", "correct the name")


def test_no_roster_yet(home):
    home.roster_path.unlink()
    fails(home, "roster", "no roster yet", "fedpriv keys roster FILE --pin")


def test_a_roster_with_another_key_of_ours(home):
    shutil.rmtree(home.identity_folder)
    keys.save(keys.new_identity("A"), home.identity_folder)
    fails(home, "roster", "has another key for A", "send the operator the new request file")


def test_a_package_that_is_gone(home, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    fails(home, "versions", "not installed: no-such-package", "install fedpriv again")


def test_a_roster_that_was_exchanged(home):
    roster = home.given_roster()
    shorter = succeed(roster, roster.coordinator, [], leaves=["C"])
    home.roster_path.write_text(dump_roster(sealed(shorter, OPERATOR, home.identity(), OTHERS[0])))
    fails(home, "roster", "was exchanged: it is number 2 of test", "who changed the file")


def test_a_roster_that_was_edited(home):
    path = home.roster_path
    path.write_text(path.read_text().replace('federation = "test"', 'federation = "tost"'))
    fails(home, "roster", "is not the one that A countersigned", "over the phone")


def test_an_authority_that_has_ended(home, monkeypatch):
    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime(2100, 1, 1, tzinfo=tz)

    monkeypatch.setattr("fedpriv.node.doctor.dt.datetime", Later)
    fails(home, "authority", "not today", "the operator makes a new authority and roster")


def test_keys_that_wait_for_a_roster(home):
    rotate(home.folder)
    found = diagnoses(home)["next keys"]
    assert found.health is Health.WARN
    assert "send their request to the operator" in found.fix


def test_files_that_others_can_write_or_read(home):
    (home.folder / "node.toml").chmod(0o666)
    fails(home, "permissions", "others can write", "chmod go-w")
    (home.folder / "node.toml").chmod(0o644)
    (home.folder / DATABASE_FILE).chmod(0o644)
    assert diagnoses(home)["permissions"].health is Health.WARN


def test_a_home_that_we_cannot_write(home, monkeypatch):
    monkeypatch.setattr(diagnosis.os, "access", lambda path, mode: False)
    fails(home, "permissions", "cannot be written", "as the owner of its home")


def test_a_clock_that_no_time_server_keeps(home, monkeypatch):
    monkeypatch.setattr(diagnosis, "clock_is_kept", lambda: False)
    found = diagnoses(home)["clock"]
    assert found.health is Health.WARN
    assert "NTP" in found.fix


def test_versions_of_another_member(home, tmp_path):
    own = next(iter(examine(home.folder)))
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps([{"subject": "versions", "found": own.found}]))
    equal = {found.subject: found for found in examine(home.folder, compare=theirs)}["versions equal"]
    assert equal.health is Health.OK
    theirs.write_text(json.dumps([{"subject": "versions", "found": own.found.replace("flwr 1.", "flwr 9.")}]))
    equal = {found.subject: found for found in examine(home.folder, compare=theirs)}["versions equal"]
    assert equal.health is Health.WARN
    assert "flwr 1.27.0 here and 9.27.0 there" in equal.found


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "health"), [(5 * 10**7, Health.FAIL), (5 * 10**8, Health.WARN)])
def test_a_disk_that_is_nearly_full(home, monkeypatch, free, health):
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda folder: Usage(10**12, 10**12 - free, free))
    assert diagnoses(home)["disk"].health is health


# The journal.


def test_a_changed_byte_names_its_row(home):
    database = home.folder / DATABASE_FILE
    content = database.read_bytes()
    assert content.count(b'"study_name":"small"') == 1
    database.write_bytes(content.replace(b'"study_name":"small"', b'"study_name":"smell"'))
    fails(home, "journal", "journal row 2 was changed", "keep the folder as it is")


def test_a_deleted_last_row_names_it(home):
    (home.folder / HEAD_FILE).write_text(f"3 {'00' * 32}\n")
    fails(
        home, "journal", "journal row 3 is missing: journal.head names row 3", "rows were deleted at the end"
    )


def test_a_clock_that_went_back(home, monkeypatch):
    with home.open_journal() as journal, monkeypatch.context() as patch:
        patch.setattr("fedpriv.node.journal.time.time", lambda: 4e9)
        charge(home, journal, study(), 1, pictures(1))
    fails(home, "clock", "the last row of the journal is of 2096-10-02", "set the clock")


# Studies and the budget.


def test_a_study_whose_copy_is_gone(home):
    for copy in home.approved_folder.iterdir():
        copy.unlink()
    fails(home, "studies", "is missing, but the journal says it was approved", "put the study file back")


def test_a_policy_that_became_stricter(home):
    configure(home, "smallest_cohort = 2", "smallest_cohort = 3")
    fails(home, "study small", "policy smallest_cohort is 3", "change the policy if you may")


def spend_all_but(home, rounds):
    """Charge another study, until just ``rounds`` rounds of this one fit."""
    policy = home.config.policy
    with home.open_journal() as journal:
        for number in itertools.count(1):
            fit = rounds_that_fit(journal.rows, "smears", study(), policy)
            if fit <= rounds:
                break
            journal.append(
                Reserve(bytes(16), number, bytes(32), "smears", "image", PrivacyEvent(2.0, 1.0, 3), bytes(32))
            )
    assert fit == rounds


@pytest.mark.parametrize(("rounds", "health"), [(2, Health.WARN), (0, Health.FAIL)])
def test_a_budget_that_does_not_pay_for_the_study(home, rounds, health):
    spend_all_but(home, rounds)
    found = diagnoses(home)["study small"]
    assert found.health is health
    assert found.found.startswith("0 rounds charged, 4 approved rounds left")
    assert "the budget pays for 2" in found.found or "policy largest_epsilon is 8" in found.found
    assert "change the policy if you may" in found.fix


def test_a_study_that_is_over_is_no_fault(home):
    with home.open_journal() as journal:
        for number in range(1, 5):
            charge(home, journal, study(), number, pictures(1))
    assert diagnoses(home)["study small"].found == "4 rounds charged, 0 approved rounds left: it is over"


def test_nothing_approved_is_a_warning(home):
    for name in (DATABASE_FILE, HEAD_FILE, "journal.sqlite-wal", "journal.sqlite-shm"):
        (home.folder / name).unlink(missing_ok=True)
    found = diagnoses(home)["studies"]
    assert found.health is Health.WARN
    assert "fedpriv node approve STUDY" in found.fix


@pytest.fixture
def fedpriv(capsys):
    def run(*arguments):
        capsys.readouterr()
        code = exit_code_of([str(argument) for argument in arguments])
        return code, capsys.readouterr()

    return run


def test_the_command_says_what_to_do_and_exits_with_1_if_something_fails(home, fedpriv):
    code, captured = fedpriv("node", "doctor", "--home", home.folder)
    assert code == 0
    assert captured.out.count("\nok ") == 16
    home.roster_path.unlink()
    code, captured = fedpriv("node", "doctor", "--home", home.folder)
    assert code == 1
    assert "fail  roster" in captured.out
    assert "-> ask the operator for it" in captured.out
    assert "error: 1 of 15 checks fail: roster" in captured.err


def test_as_json_every_line_has_its_health(home, fedpriv):
    code, captured = fedpriv("node", "doctor", "--home", home.folder, "--json")
    assert code == 0
    assert {line["health"] for line in json.loads(captured.out)} == {"ok"}


def test_it_changes_nothing_and_works_while_the_node_runs(home, fedpriv):
    def content():
        files = [path for path in home.folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
        return {path: path.read_bytes() for path in files}

    with home.open_journal():
        before = content()
        assert fedpriv("node", "doctor", "--home", home.folder)[0] == 0
        assert content() == before
