import hashlib
import json
import logging
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from support.studies import FULL_BATCH, small_study

from fedpriv.cli.main import exit_code_of
from fedpriv.model.folder import Claim, card_for, save_model
from fedpriv.smears.generate import generate
from fedpriv.study import dump_study


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def tree_of(folder):
    """Every path below ``folder``, with its mode and, for a file, the digest of its content.

    SQLite's working files come and go with every reader.
    """
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(("-shm", "-wal"))
    }


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


@pytest.fixture
def refused(fedpriv, tmp_path, monkeypatch):
    """Run a command line that is a mistake: one line, perhaps a hint, and not a byte on the disk is changed.

    Gives the error without its label. Lines of progress, which begin with a hospital's name, may come first.
    """
    handlers = list(logging.getLogger().handlers)

    def run(*arguments, code=2):
        before = tree_of(tmp_path)
        outcome = fedpriv(*arguments)
        said = [line for line in outcome.err.splitlines() if not line.startswith("A: ")]
        assert outcome.code == code, outcome.err
        assert outcome.out == ""
        assert said[0].startswith("error: ")
        assert len(said) == 1 or (len(said) == 2 and said[1].startswith("hint: ")), outcome.err
        assert tree_of(tmp_path) == before
        return said[0].removeprefix("error: ")

    yield run
    logging.getLogger().handlers = handlers


@pytest.fixture(scope="session")
def ready_made(tmp_path_factory):
    """Homes of a coordinator and of hospitals A, B, C, up to an approved study, made by commands."""
    folder = tmp_path_factory.mktemp("federation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        generate(folder / "smears", hospitals=3, patients_per_hospital=4, images_per_patient=1, seed=1)
        (folder / "study.toml").write_text(dump_study(small_study(FULL_BATCH)))
        typed = ["coordinator init --home coordinator --listen 127.0.0.1:9092"]
        for name in "ABC":
            typed.append(f"keys new {name} --home {name}")
            options = f"--name {name} --images smears --hospital {name} --colluders 0"
            typed.append(f"node init --home {name} {options} --coordinator 127.0.0.1:9092")
        requests = " ".join(f"{name}/{name}.request.toml" for name in "ABC")
        typed.append(f"keys enrol {requests} --federation demo --home coordinator")
        typed.extend(f"keys countersign coordinator/roster.draft.toml --yes --home {name}" for name in "ABC")
        signed = " ".join(f"{name}/{name}.countersignature.toml" for name in "ABC")
        typed.append(f"keys seal {signed} --home coordinator")
        typed.extend(f"keys roster coordinator/roster.toml --pin --yes --home {name}" for name in "ABC")
        typed.append("node approve study.toml --home A")
        for line in typed:
            assert exit_code_of(line.split()) == 0
    vector = np.arange(7, dtype="<f4")
    claim = Claim(unit="image", noise="local", delta=1e-5, epsilon=7.5, candidate_success=0.4)
    save_model(folder / "model", card_for(small_study(), vector, rounds=4, claim=claim), vector)
    return folder


@pytest.fixture
def place(ready_made, tmp_path):
    """A copy of `ready_made` as the current folder, to spoil at will."""
    shutil.copytree(ready_made, tmp_path, dirs_exist_ok=True)
    for name in "ABC":
        config = tmp_path / name / "node.toml"
        config.write_text(config.read_text().replace(str(ready_made), str(tmp_path)))
    return tmp_path
