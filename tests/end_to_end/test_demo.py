"""`fedpriv demo` as a newcomer types it, on images that are there already; and what it leaves behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fedpriv.model.folder import Claim, load_model, save_model
from fedpriv.model.model_card import read_model_card


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


def test_it_leaves_a_model_card_with_the_accuracy_that_it_printed(demo, smears, tmp_path):
    out, said = demo
    folder = out / "run" / "model"
    made = read_model_card(folder, load_model(folder).card)
    assert (made.held_out.accuracy, made.held_out.images) == (said["accuracy"], said["test_images"])
    assert (made.hospitals, made.new_hospitals, made.without_privacy) == (3, None, None)
    assert made.proof.claims > 100
    assert made.source is None  # these images were given, and nobody said where they come from


def test_a_model_card_counts_new_hospitals_and_a_model_without_noise_apart(demo, smears, tmp_path):
    out, _ = demo
    shutil.copytree(smears.folder, tmp_path / "smears")
    manifest = tmp_path / "smears" / "manifest.csv"
    rows = manifest.read_text().splitlines()
    place = rows[0].split(",").index("hospital")
    moved = [row.split(",") for row in rows]
    for row in moved:
        row[place] = "D" if row[place] == "C" else row[place]
    manifest.write_text("".join(",".join(row) + "\n" for row in moved))
    saved = load_model(out / "run" / "model")
    plain = msgspec.structs.replace(saved.card, privacy=Claim(unit="image", noise="none", delta=1e-5))
    save_model(tmp_path / "plain", plain, saved.vector)
    done = fedpriv(
        *("model", "card", (out / "run").resolve(), "--images", tmp_path / "smears", "--json"),
        *("--new-hospital", "D", "--without-privacy", tmp_path / "plain", "--source", "drawn"),
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    split = rows[0].split(",").index("split")
    held_out = sum(row[split] == "test" and row[place] != "D" for row in moved)
    assert made["held_out"]["images"] == made["without_privacy"]["images"] == held_out
    assert made["new_hospitals"]["images"] == sum(row[place] == "D" for row in moved)
    assert made["held_out"]["accuracy"] == made["without_privacy"]["accuracy"]  # it is the same network here


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
