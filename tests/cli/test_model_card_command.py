"""Mistakes around `fedpriv model card`; what it makes of a real run is in end_to_end/test_demo.py."""

import shutil

import numpy as np
import pytest
from support.memory import MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.coordinator.bundle import write_bundle
from fedpriv.model.folder import card_for, load_model, save_model
from fedpriv.model.model_card import read_model_card
from fedpriv.smears.generate import generate
from fedpriv.study import load_study


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one round with its bundle; nobody exported a journal."""
    federation = MemoryFederation(tmp_path_factory.mktemp("federation"), small_study(FULL_BATCH))
    federation.round()
    federation.close()
    write_bundle(federation.run, federation.roster, federation.operator)
    generate(
        federation.runs.parent / "smears", hospitals=2, patients_per_hospital=12, images_per_patient=1, seed=1
    )
    return federation.run.folder


@pytest.fixture
def smears(run):
    return run.parent.parent / "smears"


def test_without_images_the_card_holds_what_the_bundle_proves(fedpriv, run):
    made = fedpriv("model", "card", run, "--source", "drawn", "--json")
    assert made.code == 0, made.err
    assert made.json["source"] == "drawn"
    assert (made.json["hospitals"], made.json["declared_units"]) == (3, 240)
    assert made.json["proof"]["not_shown"] == 3  # three journals
    assert made.json["held_out"] is None
    folder = run / "model"
    assert read_model_card(folder, load_model(folder).card).source == "drawn"
    shown = fedpriv("model", "card", run)
    assert shown.out.count("not measured") == 3
    assert "claims hold, 3 not shown" in shown.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--new-hospital", "A"], "need images"),
        (["--without-privacy", "other"], "need images"),
        (["--images", "SMEARS", "--new-hospital", "A"], "it took part"),
        (["--images", "SMEARS", "--new-hospital", "Z"], "no image of hospital Z"),
        (["--images", "SMEARS", "--without-privacy", "RUN"], "trained with noise"),
        (["--images", "nowhere"], "no such folder"),
    ],
)
def test_mistakes_are_one_line(fedpriv, run, smears, options, said):
    given = [{"SMEARS": smears, "RUN": run}.get(option, option) for option in options]
    outcome = fedpriv("model", "card", run, *given)
    assert outcome.code == 2, outcome.err
    assert said in outcome.err
    assert outcome.out == ""


def test_a_model_that_was_put_there_later_gets_no_card(fedpriv, run, tmp_path):
    card = load_model(run / "model").card
    other = np.ones(card.parameters, "<f4")
    shutil.copytree(run, tmp_path / run.name)
    study = load_study(run / "study.toml")
    save_model(tmp_path / run.name / "model", card_for(study, other, rounds=1, claim=card.privacy), other)
    outcome = fedpriv("model", "card", tmp_path / run.name)
    assert outcome.code == 2
    assert "another model" in outcome.err
