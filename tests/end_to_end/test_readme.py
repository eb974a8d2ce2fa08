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


class Terminals:
    """Runs one command line in ``folder``; those that stay do so until they are stopped."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.lasting = {}
        self.opened = 0

    def __call__(self, line, code=0, until=None):
        words = shlex.split(line)
        if words[2:3] == ["start"]:
            self.opened += 1
            output = self.folder / f"terminal-{self.opened}"
            with output.open("wb") as log:
                process = subprocess.Popen(
                    words, cwd=self.folder, env=self.environment, stdout=log, stderr=log
                )
            self.lasting[line] = process
            deadline = time.monotonic() + 90
            while (until or LASTING[words[1]]) not in output.read_text():
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.1)
            return output.read_text()
        # A shell expands the star in one of them, and the admins say yes to the digits.
        done = subprocess.run(
            line,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def stop(self, *lines):
        """Ctrl-C in the terminals where these lines were typed."""
        for line in lines:
            self.lasting[line].send_signal(signal.SIGINT)
        for line in lines:
            self.lasting.pop(line).wait(30)


@pytest.fixture(scope="module")
def terminals(tmp_path_factory):
    """The terminals of one federation, which goes on from test to test."""
    found = Terminals(tmp_path_factory.mktemp("by-hand"))
    yield found
    found.stop(*reversed(found.lasting))


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
    (state,) = [words for line, words in said.items() if line.startswith("fedpriv node status")]
    assert state.startswith("A  idle: connected to localhost:9092")


def test_a_key_is_exchanged_and_the_run_goes_on(terminals):
    """keys/README.md on the federation that runs: nothing within a round, everything from the next one on."""
    nodes = [line for line in terminals.lasting if line.startswith("fedpriv node start")]
    if len(nodes) < 3:
        pytest.skip("the federation did not come up")
    terminals("fedpriv keys rotate --home try/B")
    terminals("fedpriv keys enrol try/B/B.request.toml --home try/coordinator")
    for name in "ABC":
        terminals(f"fedpriv keys countersign try/coordinator/roster.draft.toml --home try/{name}")
    terminals("fedpriv keys seal try/?/?.countersignature.toml --home try/coordinator")
    pins = [f"fedpriv keys roster try/coordinator/roster.toml --pin --home try/{name}" for name in "ABC"]
    assert "error: another process is writing the journal in try/A" in terminals(pins[0], code=2)

    terminals.stop(*nodes)
    assert terminals("fedpriv node status --home try/B").startswith("B  configured: not running")
    for line in pins:
        terminals(line)
    for line in nodes:
        if "try/B" not in line:
            terminals(line)
    # The coordinator lets B's new link key in when it next runs rounds; until then B is not known to it.
    terminals(nodes[1], until="does not know this hospital's key")
    rounds = terminals("fedpriv round --home try/coordinator --count 1")
    assert "1 of 1 rounds complete" in rounds
    assert "cohort A B C" in rounds
    assert "4 of 10 approved rounds" in terminals("fedpriv node budget --home try/B")

    for name in "ABC":
        terminals(f"fedpriv node export --home try/{name} --out try/{name}.again.json")
    given = " ".join(f"--journal try/{name}.again.json" for name in "ABC")
    terminals(f"fedpriv coordinator bundle --home try/coordinator {given}")
    verdict = terminals("fedpriv audit verify try/coordinator/runs/*/bundle.zip")
    assert "FAIL" not in verdict
    assert "4 rounds charged" in verdict
    assert re.search(r"(\d+) of \1 claims hold, 1 not shown", verdict)
