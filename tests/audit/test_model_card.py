import msgspec
import pytest

from fedpriv.audit.model_card import model_card_of
from fedpriv.errors import BundleError, HomeError, Refused
from fedpriv.model.folder import load_model

NOTHING = {"source": None, "held_out": None, "new_hospitals": None, "without_privacy": None}


def test_it_names_the_verified_bundle_and_what_the_study_declares(packed):
    card = load_model(packed.federation.run.model_folder).card
    made = model_card_of(packed.path, card, **NOTHING | {"source": "drawn"})
    study = packed.federation.run.study
    assert made.model_digest == card.model_digest
    assert (made.hospitals, made.declared_units) == (3, sum(study.hospitals.values()))
    verdict = packed.verdict(packed.bytes)
    assert (made.proof.claims, made.proof.not_shown) == (verdict.checked, len(verdict.not_shown))
    assert made.proof.roster == packed.federation.roster.fingerprint
    assert made.source == "drawn"
    assert made.held_out is None


def test_no_card_is_made_of_a_bundle_whose_claims_fail(packed, tmp_path):
    card = load_model(packed.federation.run.model_folder).card
    claimed = packed.entries["model/card.json"].replace(b'"rounds": 2', b'"rounds": 9')
    assert claimed != packed.entries["model/card.json"]
    (tmp_path / "bundle.zip").write_bytes(packed.sealed({"model/card.json": claimed}))
    with pytest.raises(Refused, match="claims fail, first model card"):
        model_card_of(tmp_path / "bundle.zip", card, **NOTHING)


def test_the_bundle_must_hold_this_model_and_be_there(packed, tmp_path):
    card = load_model(packed.federation.run.model_folder).card
    with pytest.raises(HomeError, match="another model"):
        model_card_of(packed.path, msgspec.structs.replace(card, model_digest="00" * 32), **NOTHING)
    with pytest.raises(BundleError, match="no such file"):
        model_card_of(tmp_path / "bundle.zip", card, **NOTHING)
