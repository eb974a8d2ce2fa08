import numpy as np
import pytest
from PIL import Image
from support.studies import small_study

from fedpriv.model.folder import Claim, card_for, save_model
from fedpriv.model.network import build_model
from fedpriv.model.weights import dimension

CLASSES = ("Benign", "Early", "Pre", "Pro")


@pytest.fixture
def run_folder(tmp_path):
    """A run whose model has random weights."""
    study = small_study(("size = 64", "size = 16"))
    vector = np.random.default_rng(0).normal(0, 0.5, dimension(build_model(study))).astype("<f4")
    claim = Claim(unit="image", noise="local", delta=1e-5, epsilon=7.5, candidate_success=0.43)
    save_model(tmp_path / "run" / "model", card_for(study, vector, rounds=4, claim=claim), vector)
    return tmp_path / "run"


@pytest.fixture
def smears(tmp_path):
    """Two images a class, and a manifest that tests on one of them."""
    generator = np.random.default_rng(1)
    rows = ["file,label,split"]
    for label in CLASSES:
        (tmp_path / "smears" / label).mkdir(parents=True)
        for number, split in enumerate(("train", "test")):
            pixels = generator.integers(0, 256, (80, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "smears" / label / f"{number}.png")
            rows.append(f"{label}/{number}.png,{label},{split}")
    (tmp_path / "smears" / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "smears"


def test_evaluate_counts_every_image_of_the_split(fedpriv, run_folder, smears):
    everything = fedpriv("model", "evaluate", run_folder, "--images", smears, "--json")
    assert everything.code == 0
    assert everything.json["images"] == np.sum(everything.json["confusion"]) == 8
    tested = fedpriv(
        "model", "evaluate", run_folder / "model", "--images", smears, "--split", "test", "--json"
    )
    assert tested.json["images"] == 4
    figures = {"images", "accuracy", "macro_f1", "calibration_error", "classes", "confusion"}
    assert set(tested.json) == figures
    assert [row["name"] for row in tested.json["classes"]] == list(CLASSES)


def test_evaluate_prints_a_table_for_people(fedpriv, run_folder, smears):
    shown = fedpriv("model", "evaluate", run_folder, "--images", smears)
    assert shown.code == 0
    assert "accuracy" in shown.out
    assert all(label in shown.out for label in CLASSES)


def test_predict_gives_probabilities_and_agrees_with_evaluate(fedpriv, run_folder, smears):
    paths = [smears / label / "1.png" for label in CLASSES]
    answers = fedpriv("model", "predict", run_folder, *paths, "--json").json
    assert list(answers) == [str(path) for path in paths]
    for answer in answers.values():
        assert sum(answer.values()) == pytest.approx(1)
    guesses = [max(answer, key=answer.get) for answer in answers.values()]
    right = sum(guess == label for guess, label in zip(guesses, CLASSES, strict=True))
    tested = fedpriv("model", "evaluate", run_folder, "--images", smears, "--split", "test", "--json").json
    assert tested["accuracy"] == pytest.approx(right / 4)
    assert "%" in fedpriv("model", "predict", run_folder, paths[0]).out


def test_show_states_what_the_model_cost(fedpriv, run_folder):
    shown = fedpriv("model", "show", run_folder)
    assert shown.code == 0
    assert "epsilon 7.50 at delta 1e-05 for each image" in shown.out
    assert "at most 43.0%" in shown.out
    assert fedpriv("model", "show", run_folder, "--json").json["privacy"]["epsilon"] == 7.5


@pytest.mark.parametrize("command", ["show", "evaluate", "predict"])
def test_what_is_no_model_is_one_line_and_exit_code_2(fedpriv, smears, command):
    arguments = {"show": [], "evaluate": ["--images", smears], "predict": [smears / "Pre" / "0.png"]}
    refused = fedpriv("model", command, "nowhere", *arguments[command])
    assert refused.code == 2
    assert refused.err.startswith("error: nowhere: neither a model folder nor a run")
    assert refused.err.count("\n") == 2


def test_an_altered_model_is_not_used(fedpriv, run_folder, smears):
    weights = run_folder / "model" / "model.npy"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    refused = fedpriv("model", "evaluate", run_folder, "--images", smears)
    assert refused.code == 2
    assert "digest" in refused.err


def test_images_that_are_none_are_named(fedpriv, run_folder, tmp_path):
    (tmp_path / "note.jpg").write_text("not an image")
    refused = fedpriv("model", "predict", run_folder, "note.jpg")
    assert refused.code == 2
    assert "note.jpg" in refused.err
