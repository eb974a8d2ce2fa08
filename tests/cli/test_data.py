import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fedpriv.cli.data import app
from fedpriv.errors import ImageError
from fedpriv.smears.index import index_images
from fedpriv.smears.manifest import Split

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    outcome = run(*arguments)
    assert isinstance(outcome.exception, ImageError)
    assert outcome.exception.exit_code == 2
    return outcome.exception.message


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "smears"
    outcome = run(
        "generate", "--out", out, "--hospitals", 2, "--patients-per-hospital", 8, "--images-per-patient", 1
    )
    assert outcome.exit_code == 0
    assert outcome.stdout == f"wrote {out}: 16 images of 16 patients at 2 hospitals\n"
    return out


@pytest.fixture
def folder(tmp_path):
    for number in range(10):
        path = tmp_path / "images" / "XY"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((70, 70, 3), 20 * number, np.uint8)).save(path)
    return tmp_path / "images"


def test_check_counts_and_says_that_nothing_was_found(smears):
    outcome = run("check", smears)
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["hospital", "split", "class", "images", "patients", "or", "slides"]
    assert lines[-1] == "16 images, nothing found"
    assert sum(int(line.split()[3]) for line in lines[1:-1]) == 16


def test_check_as_json_is_one_object(smears):
    report = json.loads(run("check", smears, "--json").stdout)
    assert report["clean"] is True
    assert sum(count["images"] for count in report["counts"]) == 16


def test_check_lists_findings_and_exits_with_1(folder):
    (folder / "X" / "0.png").write_text("no image")
    outcome = run("check", folder, "--classes", "X,Y")
    assert outcome.exit_code == 1
    assert "found: X/0.png: not a JPEG, PNG, TIFF or BMP image" in outcome.stdout
    assert json.loads(run("check", folder, "--classes", "X,Y", "--json").stdout)["clean"] is False


def test_check_says_which_side_of_the_split_is_wrong(folder):
    rows = "file,label,split,patient_id\nX/0.png,X,train,p1\nX/2.png,X,test,p1\nY/1.png,Y,test,p2\n"
    (folder / "manifest.csv").write_text(rows)
    outcome = run("check", folder, "--classes", "X,Y")
    assert "found: p1 is a patient on both sides of the split" in outcome.stdout
    assert outcome.exit_code == 1


def test_wrong_input_is_an_error_for_exit_code_2(folder, tmp_path):
    assert "no such folder" in refused("check", tmp_path / "absent")
    assert "is none of the classes" in refused("check", folder, "--classes", "X")
    assert "repeats a name" in refused("check", folder, "--classes", "X,X")
    assert "leaves one empty" in refused("check", folder, "--classes", "X,,Y")


def test_split_writes_a_manifest_of_its_own(folder):
    outcome = run("split", folder, "--classes", "X, Y", "--by", "group", "--hospitals", 1, "--json")
    assert outcome.exit_code == 0
    manifest = folder / "manifest.csv"
    assert json.loads(outcome.stdout) == {"manifest": str(manifest), "train": 8, "test": 2}
    index = index_images(folder, ("X", "Y"))
    assert len(index.select(hospital="A", split=Split.TEST).entries) == 2
    assert all(entry.sha256 for entry in index.entries)


def test_split_replaces_a_manifest_only_if_told(folder):
    arguments = ("split", folder, "--classes", "X,Y", "--by", "group")
    assert run(*arguments).exit_code == 0
    before = (folder / "manifest.csv").read_bytes()
    assert "exists already" in refused(*arguments, "--seed", 1)
    assert (folder / "manifest.csv").read_bytes() == before
    assert run(*arguments, "--seed", 1, "--replace").exit_code == 0
    assert (folder / "manifest.csv").read_bytes() != before


def test_split_by_patient_needs_patients(folder, tmp_path):
    assert "names neither patient nor slide" in refused("split", folder, "--classes", "X,Y")
    assert not (folder / "manifest.csv").exists()


def test_split_of_generated_smears_elsewhere(smears, tmp_path):
    out = tmp_path / "other.csv"
    outcome = run("split", smears, "--out", out, "--hospitals", 3)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith(f"wrote {out}: ")
    assert len(out.read_text().splitlines()) == 17


def test_generate_refuses_a_folder_that_is_there(smears):
    assert "exists already" in refused("generate", "--out", smears)


def test_generate_as_json(tmp_path):
    out = tmp_path / "smears"
    outcome = run(
        "generate",
        "--out",
        out,
        "--hospitals",
        1,
        "--patients-per-hospital",
        4,
        "--images-per-patient",
        1,
        "--json",
    )
    assert json.loads(outcome.stdout) == {"folder": str(out), "images": 4, "patients": 4}


def test_importing_the_commands_imports_nothing_heavy():
    code = (
        "import sys, fedpriv.cli.data; "
        "heavy = {'numpy', 'PIL', 'rich.progress', 'tensorflow', 'flwr'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
