import msgspec
import numpy as np
import pytest
from support.studies import small_study

from fedpriv.errors import HomeError
from fedpriv.model.evaluate import evaluate
from fedpriv.model.folder import Claim, card_for, save_model
from fedpriv.model.model_card import MODEL_CARD_FILE, ModelCard, Proof, read_model_card, write_model_card

STUDY = small_study()
CLASSES = STUDY.study.classes
VECTOR = np.arange(7, dtype="<f4")
CARD = card_for(STUDY, VECTOR, rounds=4, claim=Claim(unit="image", noise="local", delta=1e-5, epsilon=7.5))
FIGURES = evaluate(np.eye(4), np.array([0, 1, 2, 2]), CLASSES)


def model_card(**changes):
    given = {
        "model_digest": CARD.model_digest,
        "hospitals": 3,
        "declared_units": 192,
        "proof": Proof(bundle_sha256="ab" * 32, claims=5, not_shown=1, roster="1234"),
        "held_out": FIGURES,
    }
    return ModelCard(**given | changes)


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model", CARD, VECTOR)
    return tmp_path / "model"


def test_what_was_written_is_read_and_what_was_not_measured_stays_absent(folder):
    write_model_card(folder, model_card())
    found = read_model_card(folder, CARD)
    assert found == model_card()
    assert found.held_out.accuracy == 0.75
    assert (found.new_hospitals, found.without_privacy, found.source) == (None, None, None)


def test_a_folder_without_one_has_none(folder):
    assert read_model_card(folder, CARD) is None


def test_a_new_model_in_the_folder_leaves_no_old_card(folder):
    write_model_card(folder, model_card())
    save_model(folder, CARD, VECTOR)
    assert read_model_card(folder, CARD) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_digest": "00" * 32}, "about another model"),
        ({"held_out": evaluate(np.eye(2), np.array([0, 1]), ("x", "y"))}, "figures of other classes"),
        ({"new_hospitals": msgspec.structs.replace(FIGURES, images=5)}, "do not add up"),
        ({"without_privacy": msgspec.structs.replace(FIGURES, confusion=((4,),) * 4)}, "do not add up"),
    ],
)
def test_a_card_about_something_else_is_refused(folder, changes, said):
    write_model_card(folder, model_card(**changes))
    with pytest.raises(HomeError, match=said):
        read_model_card(folder, CARD)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model_digest": 7}', b"\xff", b"[" * 100_000])
def test_what_is_no_card_is_one_error(folder, content):
    (folder / MODEL_CARD_FILE).write_bytes(content)
    with pytest.raises(HomeError, match=MODEL_CARD_FILE):
        read_model_card(folder, CARD)
