"""How commands that stay end: as text as ever, as JSON in one object, and by SIGTERM as by Ctrl-C."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from fedpriv.cli.logged import logged
from fedpriv.cli.outcome import Told
from fedpriv.errors import HomeError

SECRET = "MC4CAQAwBQYDK2VwBCIEIGtleSBtYXRlcmlhbA"


@pytest.mark.parametrize(
    "line",
    ["node start --home none", "coordinator start --home none", "round --home none --study study.toml"],
)
def test_an_error_is_the_last_line_of_a_json_log_and_nothing_else_is_printed(fedpriv, line):
    text = fedpriv(*line.split())
    machine = fedpriv(*line.split(), "--log-json")
    assert machine.code == text.code == 2
    assert machine.out == text.out == ""
    said = json.loads(machine.err)
    assert (said["level"], said["event"]) == ("error", "failed")
    assert text.err == f"error: {said['message']}\nhint: {said['hint']}\n"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (HomeError("wrong"), 2, "wrong"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "/home/x"), 1, "/home/x: no space left on device"),
        (ValueError(SECRET), 1, "a bug: ValueError in test_logged.py:"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_ends_a_command_is_json(capsys, error, code, words):
    with pytest.raises(Told) as told, logged(as_json=True):
        raise error
    assert told.value.exit_code == code
    err = capsys.readouterr().err
    assert json.loads(err)["message"].startswith(words)
    assert SECRET not in err


def test_as_text_an_error_goes_on_and_is_in_the_file(tmp_path, capsys):
    def command():
        with logged(as_json=False) as log:
            log.keep_in(tmp_path / "log")
            raise HomeError("wrong")

    with pytest.raises(HomeError):
        command()
    assert capsys.readouterr().err == ""  # the command line prints it
    assert (tmp_path / "log").read_text().endswith(" ERROR fedpriv.logs wrong\n")


def test_a_process_that_says_nothing_is_not_healthy(place, fedpriv):
    for noun, home in (("node", "A"), ("coordinator", "coordinator")):
        outcome = fedpriv(noun, "status", "--healthy", "--home", home)
        assert outcome.code == 1
        assert outcome.err == f"error: the {noun} does not run, or has said nothing for 30 s\n"


def test_a_health_check_loads_neither_tensorflow_nor_flower(place):
    program = (
        "import sys; from fedpriv.cli.main import exit_code_of\n"
        "for line in ('node status --healthy --home A', 'coordinator status --healthy --home coordinator'):\n"
        "    assert exit_code_of(line.split()) == 1\n"
        "print([name for name in ('tensorflow', 'flwr', 'prometheus_client', 'grpc') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_sigterm_while_a_node_loads_ends_it_as_ctrl_c_does(place):
    """Process 1 of a container gets no signal that it does not handle: it would go on until it is killed."""
    command = [sys.executable, "-m", "fedpriv", "node", "start", "--home", "A", "--log-json"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, env=environment) as process:
        first = json.loads(process.stderr.readline())
        assert first["event"] == "loading"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest = [json.loads(line) for line in process.stderr]
        code = process.wait(30)
    assert time.monotonic() - began < 20
    assert code in {0, 130}  # 0 if it had finished loading just then
    assert rest[-1]["message"] in {"interrupted", "stopped"}
    assert not (place / "A" / "node.pulse").exists()


def test_logging_is_left_as_it_was_found(fedpriv):
    before = list(logging.getLogger().handlers)
    fedpriv("node", "start", "--home", "none", "--log-json")
    assert logging.getLogger().handlers == before
