"""A journal that was edited, cut or put back: which row, and why, from `fedpriv audit verify`.

Three witnesses share the work. The chain of signatures finds an edit, the head file a lost end, and what the
hospital signed for others finds an old copy of both: the coordinator's record holds its advertised heads,
the other hospitals' journals hold receipts that name them.
"""

import sqlite3
import subprocess
import sys

import msgspec
import pytest

from fedpriv.cli.main import exit_code_of
from fedpriv.node.chain import StoredRow, verify_chain
from fedpriv.node.journal import DATABASE_FILE, HEAD_FILE


@pytest.fixture
def fedpriv(capsys):
    def run(*arguments):
        capsys.readouterr()
        code = exit_code_of([str(argument) for argument in arguments])
        return code, capsys.readouterr()

    return run


def edit(home, *statements):
    """Change the database as somebody who knows SQLite would: triggers off, no trace in the log."""
    connection = sqlite3.connect(home / DATABASE_FILE)
    for trigger in ("rows_are_never_updated", "rows_are_never_deleted"):
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def rows_in(home):
    connection = sqlite3.connect(home / DATABASE_FILE)
    (count,) = connection.execute("SELECT count(*) FROM rows").fetchone()
    connection.close()
    return count


def cut_to(home, rows):
    """An old copy of the database: the first ``rows`` rows."""
    edit(home, f"DELETE FROM rows WHERE sequence > {rows}")


def with_matching_head(home, rows, public_key):
    connection = sqlite3.connect(home / DATABASE_FILE)
    stored = connection.execute(
        "SELECT sequence, unix_time_s, event, salt, signature FROM rows ORDER BY sequence"
    )
    chain = verify_chain([StoredRow(*row) for row in stored], public_key)
    connection.close()
    (home / HEAD_FILE).write_text(f"{rows} {chain[-1].digest.hex()}\n")


def verify(fedpriv, desk, *options):
    return fedpriv("audit", "verify", "--journal", desk.home("A"), *options)


def test_an_honest_journal_verifies(desk, fedpriv):
    code, captured = verify(fedpriv, desk, "--run", desk.run)
    assert code == 0
    assert desk.federation.roster.fingerprint in captured.out
    assert "claims hold" in captured.out
    assert captured.err == ""


def test_one_byte_is_found_in_its_row(desk, fedpriv):
    edit(
        desk.home("A"),
        "UPDATE rows SET event = CAST(replace(event, 'round\":1', 'round\":7') AS BLOB) WHERE sequence = 3",
    )
    code, captured = verify(fedpriv, desk)
    assert code == 1
    assert "FAIL    journal of A: journal row 3 was changed" in captured.out
    assert "its signature does not verify" in captured.out


def test_a_deleted_last_row_is_named(desk, fedpriv):
    last = rows_in(desk.home("A"))
    cut_to(desk.home("A"), last - 1)
    code, captured = verify(fedpriv, desk)
    assert code == 1
    assert f"journal row {last} is missing: journal.head names row {last} as the last one" in captured.out


def test_an_old_copy_of_the_database_alone_is_found(desk, fedpriv):
    cut_to(desk.home("A"), 3)
    code, captured = verify(fedpriv, desk)
    assert code == 1
    assert "journal row 4 is missing" in captured.out


@pytest.fixture
def rolled_back(desk):
    """A's home with database and head file as they were after row 3: nothing inside contradicts it."""
    home = desk.home("A")
    cut_to(home, 3)
    with_matching_head(home, 3, desk.federation.roster.member("A").signing_key)
    return desk


def test_control_an_old_copy_of_both_contradicts_nothing_inside(rolled_back, fedpriv):
    assert verify(fedpriv, rolled_back)[0] == 0


def test_an_old_copy_of_both_is_found_against_the_run(rolled_back, fedpriv):
    code, captured = verify(fedpriv, rolled_back, "--run", rolled_back.run)
    assert code == 1
    assert "journal of A, row 3: the journal ends here without the head " in captured.out
    assert "that it signed in round 2: rows were lost, or an old copy was restored" in captured.out
    assert "it has no row for the vector that A signed in round 1" in captured.out


def test_an_old_copy_of_both_is_found_against_another_hospital(rolled_back, fedpriv):
    code, captured = verify(fedpriv, rolled_back, "--journal", rolled_back.home("B"))
    assert code == 1
    assert "journal of A, row 3: the journal ends here without the head " in captured.out
    assert "that B's receipt of round 2 names: rows were lost" in captured.out


def test_a_hospital_that_was_not_there_is_no_witness(rolled_back, fedpriv):
    """C missed the second round, so its receipts name only a head that the old copy still has."""
    assert verify(fedpriv, rolled_back, "--journal", rolled_back.home("C"))[0] == 0


def test_a_fingerprint_that_was_read_differently_is_refused(desk, fedpriv):
    right = desk.federation.roster.fingerprint
    assert verify(fedpriv, desk, "--roster-fingerprint", right.replace(" ", ""))[0] == 0
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    code, captured = verify(fedpriv, desk, "--roster-fingerprint", wrong)
    assert code == 1
    assert "another roster" in captured.err


def test_nothing_to_verify_is_a_mistake(fedpriv):
    code, captured = fedpriv("audit", "verify")
    assert code == 2
    assert "nothing to verify" in captured.err


def test_as_json_each_failure_has_its_record(rolled_back, fedpriv):
    code, captured = verify(fedpriv, rolled_back, "--run", rolled_back.run, "--json")
    answer = msgspec.json.decode(captured.out)
    assert code == 1
    assert answer["failures"][0]["record"] == "journal of A, row 3"
    assert answer["spent"]["pld"] > 0


def test_verifying_loads_no_tensorflow(desk):
    words = ["audit", "verify", "--run", str(desk.run), "--journal", str(desk.home("A"))]
    code = f"import sys, fedpriv.cli.main as m; print(m.exit_code_of({words}), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0"
    assert not {"tensorflow", "flwr"} & set(modules)
