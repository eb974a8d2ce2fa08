"""What a run leaves on disk: read back, torn, edited, resumed."""

import errno
import os

import numpy as np
import pytest
from support.studies import small_study

from fedpriv.coordinator import run_folder
from fedpriv.coordinator.run_folder import RoundEnded, RoundStarted, new_run, open_run
from fedpriv.coordinator.server_step import Progress, at_start
from fedpriv.errors import HomeError
from fedpriv.secagg.record import RoundRecord
from fedpriv.secagg.terms import model_digest
from fedpriv.toml_files import replace_file

VECTOR = np.arange(10, dtype=np.float32)


def digest(vector):
    return model_digest(vector.astype("<f4").tobytes()).hex()


def ended(number, after=VECTOR, outcome="complete"):
    record = RoundRecord(
        run=bytes(16),
        round=number,
        roster_digest=bytes(32),
        study_digest=bytes(32),
        model_digest=bytes(32),
        context=bytes(32),
        advertisements=(),
        commitments=(),
        updates=(),
        agreements=(),
        answered=(),
        refusals={},
        receipt=None,
    )
    return RoundEnded(
        round=number,
        outcome=outcome,
        cohort=("A", "B"),
        dropped={"C": "share: did not answer in time"},
        asked_to_train=("A", "B"),
        reason="",
        model_before=digest(VECTOR),
        model_after=digest(after),
        seconds={"advertise": 0.1},
        record=record,
    )


@pytest.fixture
def run(tmp_path):
    return new_run(tmp_path / "runs", small_study(), VECTOR)


def test_a_new_run_starts_from_its_first_vector(run):
    assert run.lines() == []
    assert run.next_round() == 1
    assert (run.latest_vector() == VECTOR).all()
    again = open_run(run.folder)
    assert again.study == run.study
    assert again.run == run.run
    assert len(run.run) == 16


def test_two_runs_of_one_second_have_different_names(run, tmp_path):
    assert new_run(tmp_path / "runs", small_study(), VECTOR).run != run.run


def test_lines_come_back_as_they_were(run):
    lines = [RoundStarted(1), ended(1), RoundStarted(2)]
    for line in lines:
        run.append(line)
    assert run.lines() == lines
    assert run.next_round() == 3
    assert [line.round for line in run.completed()] == [1]


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_line_cut_short_by_a_crash_is_left_out_and_written_over(run, cut):
    run.append(RoundStarted(1))
    path = run.folder / "rounds.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:cut].rstrip(b"\n"))
    assert run.lines() == [RoundStarted(1)]
    run.append(RoundStarted(2))
    assert run.lines() == [RoundStarted(1), RoundStarted(2)]


def test_an_edited_line_is_named(run):
    run.append(RoundStarted(1))
    path = run.folder / "rounds.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round"', b'"ruond"'))
    with pytest.raises(HomeError, match=r"rounds\.jsonl, line 1"):
        run.lines()


def test_the_latest_vector_is_that_of_the_last_complete_round(run):
    moved = VECTOR + 1
    run.save_checkpoint(1, at_start(moved))
    assert (run.latest_vector() == VECTOR).all()  # a checkpoint counts once its round is recorded
    run.append(ended(1, moved))
    run.append(ended(2, VECTOR, outcome="failed"))
    assert (run.latest_vector() == moved).all()


def test_a_checkpoint_that_is_not_the_recorded_model_is_refused(run):
    run.save_checkpoint(1, at_start(VECTOR + 2))
    run.append(ended(1, VECTOR + 1))
    with pytest.raises(HomeError, match="not the model that round 1 recorded"):
        run.latest_vector()


def test_momentum_and_average_come_back_to_the_last_bit(run):
    generator = np.random.default_rng(1)
    progress = Progress(VECTOR + 1, generator.normal(size=10), generator.normal(size=10))
    run.save_checkpoint(1, progress)
    run.append(ended(1, VECTOR + 1))
    again = open_run(run.folder).latest()
    for name in ("vector", "velocity", "average"):
        assert getattr(again, name).tobytes() == getattr(progress, name).tobytes()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a whole file"])
def test_a_checkpoint_that_is_cut_short_is_one_line(run, damage):
    (run.folder / "checkpoints" / "round-000000.npz").write_bytes(damage)
    with pytest.raises(HomeError, match="round-000000"):
        run.latest()


def test_a_missing_checkpoint_is_one_line(run):
    run.append(ended(1))
    with pytest.raises(HomeError, match="round-000001"):
        run.latest_vector()


def test_only_the_first_and_the_last_two_checkpoints_are_kept(run):
    for number in range(1, 6):
        run.save_checkpoint(number, at_start(VECTOR + number))
        run.append(ended(number, VECTOR + number))
        run.drop_old_checkpoints()
    kept = sorted(path.stem for path in (run.folder / "checkpoints").iterdir())
    assert kept == ["round-000000", "round-000004", "round-000005"]


def test_however_often_it_crashes_between_checkpoint_and_record_the_last_complete_round_stays(run):
    run.save_checkpoint(1, at_start(VECTOR + 1))
    run.append(ended(1, VECTOR + 1))
    for number in range(2, 6):
        run.save_checkpoint(number, at_start(VECTOR + number))  # and then it was killed
        run.drop_old_checkpoints()
        assert (open_run(run.folder).latest_vector() == VECTOR + 1).all()


def test_a_run_that_could_not_be_made_is_not_there(tmp_path, monkeypatch):
    def full(path, content, error):
        if path.suffix == ".npz":
            return replace_file(path, content, error)
        raise error(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr(run_folder, "replace_file", full)
    with pytest.raises(HomeError, match="No space left"):
        new_run(tmp_path / "runs", small_study(), VECTOR)
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_is_one_line_that_names_the_file(run, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HomeError, match=r"rounds\.jsonl cannot be written: No space left on device"):
        run.append(RoundStarted(1))
    with pytest.raises(HomeError, match=r"round-000001\.npz cannot be written: No space left on device"):
        run.save_checkpoint(1, at_start(VECTOR))


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(HomeError, match="no run here"):
        open_run(tmp_path)
