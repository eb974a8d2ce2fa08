"""The README's federation by hand, typed as it is written there."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LASTING = {"coordinator": "open for 3 hospitals", "node": "waiting for rounds"}


def commands():
    """Every command of the chapter, in its order."""
    chapter = (ROOT / "README.md").read_text().split("## A federation by hand")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", chapter, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.fixture
def terminals(tmp_path):
    """Runs one command line in ``tmp_path``; those that stay are stopped at the end."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lasting = []

    def run(line):
        words = shlex.split(line)
        if words[2:3] == ["start"]:
            output = tmp_path / f"terminal-{len(lasting)}"
            with output.open("wb") as log:
                process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=log, stderr=log)
            lasting.append(process)
            deadline = time.monotonic() + 90
            while LASTING[words[1]] not in output.read_text():
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.1)
            return output.read_text()
        # A shell expands the star in one of them, and the admins say yes to the digits.
        done = subprocess.run(
            line,
            shell=True,
            cwd=tmp_path,
            env=environment,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    yield run
    for process in reversed(lasting):
        process.send_signal(signal.SIGINT)
    for process in lasting:
        process.wait(30)


def test_the_federation_by_hand_works_as_written(terminals):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 9092)) == 0:
            pytest.skip("something else listens on port 9092 of this machine")
    said = {}
    for line in commands():
        said[line] = terminals(line)
    (rounds,) = [words for line, words in said.items() if line.startswith("fedpriv round")]
    assert "3 of 3 rounds complete" in rounds
    assert rounds.count("cohort A B C") == 3
    (budget,) = [words for line, words in said.items() if line.startswith("fedpriv node budget")]
    assert "3 of 10 approved rounds" in budget
    (accuracy,) = [words for line, words in said.items() if line.startswith("fedpriv model evaluate")]
    assert re.search(r"accuracy +\d", accuracy)
    (verdict,) = [words for line, words in said.items() if line.startswith("fedpriv audit verify")]
    assert "FAIL" not in verdict
    assert re.search(r"(\d+) of \1 claims hold, 1 not shown", verdict)
