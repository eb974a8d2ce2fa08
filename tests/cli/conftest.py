import json
from dataclasses import dataclass

import pytest

from fedpriv.cli.main import exit_code_of


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def fedpriv(capsys, tmp_path, monkeypatch):
    """Run one command line in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        code = exit_code_of([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
