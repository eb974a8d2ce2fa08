import json
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.studies import small_study

from fedpriv.errors import HomeError
from fedpriv.model import folder as folders
from fedpriv.model.folder import Card, Claim, card_for, find_model_folder, load_model, save_model
from fedpriv.secagg.terms import model_digest

CLAIM = Claim(unit="image", noise="local", delta=1e-5, epsilon=7.9, candidate_success=0.4)
VECTOR = np.arange(12, dtype="<f4") / 7


def card(vector=VECTOR, rounds=3):
    return Card(
        study="test",
        study_digest="ab" * 32,
        model_digest=model_digest(vector.astype("<f4").tobytes()).hex(),
        network="smear-cnn",
        classes=("Benign", "Early"),
        image_size=64,
        parameters=len(vector),
        rounds=rounds,
        privacy=CLAIM,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_loaded(tmp_path):
    save_model(tmp_path / "model", card(), VECTOR)
    saved = load_model(tmp_path / "model")
    assert saved.card == card()
    np.testing.assert_array_equal(saved.vector, VECTOR)
    assert names(tmp_path / "model") == ["card.json", "model.npy"]
    assert names(tmp_path) == ["model"]


def test_saving_again_replaces_the_whole(tmp_path):
    save_model(tmp_path / "model", card(), VECTOR)
    save_model(tmp_path / "model", card(VECTOR * 2, rounds=4), VECTOR * 2)
    assert load_model(tmp_path / "model").card.rounds == 4
    assert names(tmp_path) == ["model"]


def test_a_failure_while_writing_leaves_the_old_model(tmp_path, monkeypatch):
    save_model(tmp_path / "model", card(), VECTOR)

    def full(*_arguments, **_options):
        raise OSError("no space left on device")

    monkeypatch.setattr(folders.np, "save", full)
    with pytest.raises(OSError, match="no space"):
        save_model(tmp_path / "model", card(VECTOR * 2), VECTOR * 2)
    np.testing.assert_array_equal(load_model(tmp_path / "model").vector, VECTOR)
    assert names(tmp_path) == ["model"]


def test_the_card_is_made_from_the_study():
    study = small_study()
    made = card_for(study, VECTOR, rounds=2, claim=CLAIM)
    assert made.study_digest == study.digest.hex()
    assert made.model_digest == model_digest(VECTOR.tobytes()).hex()
    assert (made.classes, made.image_size, made.parameters, made.rounds) == (study.study.classes, 64, 12, 2)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_byte_of_the_weights_is_noticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip") / "model"
    save_model(folder, card(), VECTOR)
    raw = bytearray((folder / "model.npy").read_bytes())
    weights_start = len(raw) - VECTOR.nbytes
    raw[data.draw(st.integers(weights_start, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / "model.npy").write_bytes(raw)
    with pytest.raises(HomeError, match="digest"):
        load_model(folder)


def breaking(folder, name):
    match name:
        case "no card":
            (folder / "card.json").unlink()
        case "no weights":
            (folder / "model.npy").unlink()
        case "card is no JSON":
            (folder / "card.json").write_text("{")
        case "unknown key":
            content = json.loads((folder / "card.json").read_text())
            (folder / "card.json").write_text(json.dumps(content | {"accuracy": 0.9}))
        case "cut short":
            (folder / "model.npy").write_bytes((folder / "model.npy").read_bytes()[:-3])
        case "empty":
            (folder / "model.npy").write_bytes(b"")
        case "a pickle":
            np.save(folder / "model.npy", np.array([print], dtype=object), allow_pickle=True)
        case "doubles":
            np.save(folder / "model.npy", VECTOR.astype("<f8"))
        case "too many":
            np.save(folder / "model.npy", np.append(VECTOR, VECTOR))


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("no card", "card.json"),
        ("no weights", "model.npy"),
        ("card is no JSON", "card.json"),
        ("unknown key", "accuracy"),
        ("cut short", "model.npy"),
        ("empty", "model.npy"),
        ("a pickle", "model.npy"),
        ("doubles", "not the 12 float32"),
        ("too many", "not the 12 float32"),
    ],
)
def test_a_broken_folder_is_one_line_naming_the_file(tmp_path, fault, word):
    save_model(tmp_path / "model", card(), VECTOR)
    breaking(tmp_path / "model", fault)
    with pytest.raises(HomeError, match=word) as refusal:
        load_model(tmp_path / "model")
    assert "\n" not in refusal.value.message


def test_a_run_or_a_model_folder_will_do_and_nothing_else(tmp_path):
    save_model(tmp_path / "run" / "model", card(), VECTOR)
    assert find_model_folder(tmp_path / "run") == tmp_path / "run" / "model"
    assert find_model_folder(tmp_path / "run" / "model") == tmp_path / "run" / "model"
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(HomeError, match="neither"):
            find_model_folder(wrong)


def test_no_claim_is_an_absent_epsilon():
    claim = Claim(unit="image", noise="none", delta=1e-5)
    assert msgspec.json.decode(msgspec.json.encode(claim), type=Claim).epsilon is None


def test_reading_a_model_folder_needs_no_tensorflow():
    program = "import sys, fedpriv.model.folder; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
