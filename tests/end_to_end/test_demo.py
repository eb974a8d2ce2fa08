"""`fedpriv demo` as a newcomer types it, on images that are there already; and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedpriv.model.folder import load_model


def fedpriv(*arguments, timeout=280):
    command = [sys.executable, "-m", "fedpriv", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory, smears):
    """The demo's folder and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = fedpriv("demo", "--images", smears.folder, "--rounds", "2", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_it_reports_what_was_trained_and_what_it_cost(demo):
    out, said = demo
    assert said["rounds_complete"] == 2
    assert [line["cohort"] for line in said["rounds"]] == [["A", "B", "C"]] * 2
    assert 0 < said["epsilon"] <= 8.0
    assert (said["delta"], said["unit"], said["noise"]) == (1e-5, "image", "local")
    assert 0 <= said["accuracy"] <= 1
    assert said["majority_class"] < 1
    for line in said["rounds"]:
        assert set(line["seconds"]) == {"advertise", "share", "upload", "agree", "unmask", "close"}
    assert said["run"].startswith(str(out.resolve()))
    assert (out / "run").resolve() == Path(said["run"])
    assert load_model(out / "run" / "model").card.rounds == 2


def test_the_accuracy_is_what_a_new_process_finds(demo, smears):
    _, said = demo
    done = fedpriv("model", "evaluate", said["run"], "--images", smears.folder, "--split", "test", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == said["accuracy"]


def test_its_bundle_verifies_with_every_journal(demo):
    out, said = demo
    done = fedpriv("audit", "verify", out / "bundle.zip", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert [gap["record"] for gap in found["not_shown"]] == ["roster"]
    assert [(charged["hospital"], charged["rounds"]) for charged in found["charged"]] == [
        ("A", 2),
        ("B", 2),
        ("C", 2),
    ]
    assert found["spent"]["pld"] == pytest.approx(said["epsilon"])


def test_one_changed_byte_of_its_bundle_is_found(demo, tmp_path):
    out, _ = demo
    content = bytearray((out / "bundle.zip").read_bytes())
    for place in range(0, len(content), len(content) // 6):
        content[place] ^= 1
        (tmp_path / "changed.zip").write_bytes(content)
        done = fedpriv("audit", "verify", tmp_path / "changed.zip")
        content[place] ^= 1
        assert done.returncode in {1, 2}, place
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr


def test_no_process_is_left(demo):
    out, _ = demo
    for output in out.rglob("output.log"):
        assert output.read_text().splitlines()[-1].endswith(("stopped", "closed"))


@pytest.mark.real_smears
def test_it_learns_the_real_smears_with_five_hospitals(tmp_path):
    folder = os.environ.get("FEDPRIV_REAL_SMEARS")
    if not folder:
        pytest.skip("FEDPRIV_REAL_SMEARS names no folder of real smears")
    done = fedpriv(
        "demo", "--images", folder, "--hospitals", "5", "--out", tmp_path / "out", "--json", timeout=580
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["rounds"][-1]["cohort"] == ["A", "B", "C", "D", "E"]
    assert said["majority_class"] < 0.33
    assert said["accuracy"] > 0.8
