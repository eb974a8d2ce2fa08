"""What goes where: results on stdout, the rest on stderr, JSON alone, secrets nowhere, and the exit codes."""

import errno
import json
import subprocess
import sys

import click
import pytest

from fedpriv import __version__
from fedpriv.cli import main
from fedpriv.errors import (
    FedprivError,
    InputError,
    JournalCorrupt,
    PolicyRefused,
    ProtocolRefused,
    RoundFailed,
    Unreachable,
)

SCRIPTED = [
    "keys show --home A --json",
    "keys roster coordinator/roster.toml --json",
    "node status --home A --json",
    "node budget --home A --json",
    "coordinator status --home coordinator --json",
    "study show study.toml --json",
    "study plan study.toml --json --dry-run",
    "data check smears --json",
    "data split smears --out other.csv --json",
    "data generate --out drawn --hospitals 1 --patients-per-hospital 4 --images-per-patient 1 --json",
    "model show model --json",
]


@pytest.mark.parametrize("line", SCRIPTED)
def test_json_is_one_document_and_nothing_else_is_printed(place, fedpriv, line):
    outcome = fedpriv(*line.split())
    assert outcome.code == 0
    assert isinstance(json.loads(outcome.out), dict)
    assert outcome.err == ""


def test_a_value_that_json_does_not_know_is_null(place, fedpriv):
    config = place / "A" / "node.toml"
    config.write_text(config.read_text().replace("largest_epsilon = 8.0", "largest_epsilon = inf"))
    shown = fedpriv("node", "budget", "--home", "A", "--json").out
    assert json.loads(shown, parse_constant=pytest.fail)["largest_epsilon"] is None


def secrets_of(place):
    """Each line of every private key, as it would look in a log."""
    files = [*place.rglob("*.pem"), *place.rglob("*.key")]
    assert len(files) == 4 * 2 + 2
    return {line for file in files for line in file.read_text().splitlines() if "-----" not in line}


def test_no_command_prints_a_private_key(place, fedpriv):
    secrets = secrets_of(place)
    lines = [*SCRIPTED, *(line.replace(" --json", "") for line in SCRIPTED if "data" not in line)]
    lines += [
        "keys new D --home D",
        "node start --home B",
        "coordinator start --home A",
        "keys new A --home A",
        "study show A/identity/signing.pem",
        "keys enrol A/identity/link.pem --federation x --home coordinator",
        "keys roster coordinator/tls/ca.key",
        "node approve A/identity/signing.pem --home A",
        "model show A/identity",
        "data check A/identity",
    ]
    printed = "".join(outcome.out + outcome.err for outcome in (fedpriv(*line.split()) for line in lines))
    assert "signing.pem" in printed
    assert "-----BEGIN" not in printed
    for secret in secrets:
        assert secret not in printed


@pytest.mark.parametrize("file", ["signing.pem", "link.pem"])
def test_a_damaged_key_is_not_quoted(place, fedpriv, file):
    path = place / "A" / "identity" / file
    secret = path.read_text().splitlines()[1]
    path.write_text(path.read_text()[:-20])
    outcome = fedpriv("keys", "show", "--home", "A")
    assert outcome.code == 2
    assert secret[:16] not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("wrong", hint="do this"), 2, "error: wrong\nhint: do this\n"),
        (PolicyRefused("no"), 1, "error: no\n"),
        (ProtocolRefused("no"), 1, "error: no\n"),
        (RoundFailed("too few"), 1, "error: too few\n"),
        (JournalCorrupt("row 3"), 1, "error: row 3\n"),
        (Unreachable("nobody"), 1, "error: nobody\n"),
        (FedprivError("other"), 1, "error: other\n"),
        (click.UsageError("Bad word."), 2, "error: bad word\nhint: `fedpriv --help` shows how\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (click.Abort(), 130, "error: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/home/x"),
            1,
            "error: /home/x: no space left on device\nhint: is the folder yours, and the disk not full?\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_is_one_line_and_its_exit_code(monkeypatch, capsys, error, code, line):
    def app(**_options):
        raise error

    monkeypatch.setattr(main, "app", app)
    assert main.exit_code_of(["keys"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == line


def test_a_bug_keeps_its_traceback(monkeypatch):
    def app(**_options):
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", app)
    with pytest.raises(ZeroDivisionError):
        main.exit_code_of(["keys"])


def test_a_reader_that_leaves_early_is_no_traceback(place):
    """As in ``fedpriv study show study.toml | head -0``."""
    command = [sys.executable, "-m", "fedpriv", "study", "show", "study.toml"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()
        process.wait(30)
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


def test_the_version(fedpriv):
    outcome = fedpriv("--version")
    assert outcome.code == 0
    assert outcome.out == f"fedpriv {__version__}\n"
