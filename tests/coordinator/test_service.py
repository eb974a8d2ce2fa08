"""What `fedpriv round` does around its rounds: what a killed command left, failures in a row, a full stop."""

import contextlib
import shutil
from types import SimpleNamespace

import pytest
from support.memory import MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.coordinator import service
from fedpriv.coordinator.archive import unpack
from fedpriv.coordinator.bundle import write_bundle
from fedpriv.coordinator.home import Deadlines
from fedpriv.coordinator.run_folder import RoundStarted, open_run
from fedpriv.errors import Refused
from fedpriv.model.folder import load_model
from fedpriv.secagg.messages import Stage


@pytest.fixture
def federation(tmp_path):
    study = small_study(FULL_BATCH, ("rounds = 4", "rounds = 6"), ("local_steps = 2", "local_steps = 1"))
    made = MemoryFederation(tmp_path, study)
    yield made
    made.close()


@pytest.fixture
def pauses(monkeypatch):
    """Nobody waits here; how long they would have is noted."""
    noted = []
    monkeypatch.setattr("fedpriv.coordinator.rounds.time.sleep", noted.append)
    return noted


@pytest.fixture
def home(federation, monkeypatch, pauses):
    """The coordinator's home, its door a call in memory."""
    monkeypatch.setattr(service, "link", lambda _home: contextlib.nullcontext(federation.link))
    return SimpleNamespace(
        one_command=contextlib.nullcontext,
        roster=lambda: federation.roster,
        identity=lambda: federation.operator,
        config=SimpleNamespace(deadlines=Deadlines(join_s=0.01)),
        runs_folder=federation.runs,
        traffic_path=federation.runs.parent / "traffic",
    )


def rounds(home, federation, count):
    return service.run_rounds(home, open_run(federation.run.folder), count=count, observe=lambda _event: None)


def outcomes(ended):
    return [line.outcome for line in ended]


def test_what_a_killed_command_left_behind_is_brought_to_the_record(home, federation):
    rounds(home, federation, 1)
    run = federation.run
    stale = {name: run.folder.parent / f"stale-{name}" for name in ("model", "bundle.zip")}
    shutil.copytree(run.folder / "model", stale["model"])
    shutil.copy(run.folder / "bundle.zip", stale["bundle.zip"])
    rounds(home, federation, 5)
    # As if it had been killed after the last line of the record: model and bundle are those of before.
    shutil.rmtree(run.folder / "model")
    shutil.move(stale["model"], run.folder / "model")
    shutil.move(stale["bundle.zip"], run.folder / "bundle.zip")
    assert load_model(run.model_folder).card.rounds == 1

    with pytest.raises(Refused, match="0 of its 6 rounds left"):
        rounds(home, federation, None)
    assert load_model(run.model_folder).card.rounds == 6
    shown = unpack((run.folder / "bundle.zip").read_bytes(), "bundle")
    assert shown["rounds.jsonl"] == (run.folder / "rounds.jsonl").read_bytes()
    assert shown["model/model.npy"] == (run.model_folder / "model.npy").read_bytes()


def test_a_round_that_a_crash_cut_short_is_in_the_claim_at_once(home, federation):
    rounds(home, federation, 1)
    before = load_model(federation.run.model_folder).card.privacy.epsilon
    federation.run.append(RoundStarted(2))  # and then it was killed
    federation.link.deaf |= dict.fromkeys("AB", Stage.ADVERTISE)
    assert outcomes(rounds(home, federation, 1)) == ["failed"]
    assert load_model(federation.run.model_folder).card.privacy.epsilon > before


def test_a_bundle_that_shows_all_keeps_its_journals(home, federation):
    rounds(home, federation, 6)
    write_bundle(federation.run, federation.roster, federation.operator, {"A": b"what A sent"})
    with pytest.raises(Refused):
        rounds(home, federation, None)
    assert "journals/A.json" in unpack((federation.run.folder / "bundle.zip").read_bytes(), "bundle")


def test_three_failures_in_a_row_end_the_command_before_the_budget_is_gone(home, federation, pauses):
    federation.link.deaf |= dict.fromkeys("AB", Stage.AGREE)
    assert outcomes(rounds(home, federation, None)) == ["failed"] * 3
    assert len(pauses) == 2
    assert 0.5 <= pauses[0] <= 1.0 <= pauses[1] <= 2.0
    federation.link.deaf.clear()
    assert outcomes(rounds(home, federation, None)) == ["complete"] * 3


def test_a_complete_round_forgives_the_failures_before_it(home, federation, pauses):
    fails = iter([True, True, False, True, True, False])
    online = federation.link.online

    def look():
        federation.link.deaf = dict.fromkeys("AB", Stage.SHARE) if next(fails) else {}
        return online()

    federation.link.online = look
    expected = ["failed", "failed", "complete", "failed", "failed", "complete"]
    assert outcomes(rounds(home, federation, 6)) == expected
    assert len(pauses) == 4
    assert pauses[2] <= 1.0
