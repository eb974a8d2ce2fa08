"""`fedpriv audit attack` as an auditor meets it; what it measures is tested in tests/audit/attack."""

import pytest
from support.studies import study_text

from fedpriv.audit.attack import one_run
from fedpriv.audit.attack.row import Role, Row


def row(role=Role.SUBJECT, *, holds=True):
    return Row(
        "one-run, local noise", "run as planned", role, "90 of 100 right", "epsilon 3.49", holds, {"r": 1}
    )


@pytest.fixture
def rows(monkeypatch):
    """Stand-ins for what takes minutes; the studies that were attacked."""
    found, asked = [row()], []

    def stand_in(study, canaries):
        asked.append((study.study.name, canaries))
        return list(found)

    monkeypatch.setattr(one_run, "one_run", stand_in)
    return found, asked


def test_a_line_says_what_was_found_and_what_could_have_been(fedpriv, rows):
    outcome = fedpriv("audit", "attack", "one-run")
    assert outcome.code == 0
    assert "run as planned: 90 of 100 right; found no contradiction; could have shown up to epsilon 3.49" in (
        outcome.out
    )


def test_a_contradiction_is_exit_code_1(fedpriv, rows):
    rows[0].append(row(holds=False))
    outcome = fedpriv("audit", "attack", "one-run", "--json")
    assert outcome.code == 1
    assert "2 rows contradict what is claimed" in outcome.err
    assert outcome.json["contradicted"] is True
    assert outcome.json["rows"][1]["conclusion"].startswith("contradicts the claim")


def test_an_attack_that_fails_where_it_must_succeed_shows_nothing(fedpriv, rows):
    rows[0].insert(0, row(Role.CONTROL, holds=False))
    outcome = fedpriv("audit", "attack", "one-run")
    assert outcome.code == 1
    assert "nothing is shown" in outcome.err


def test_a_study_of_ones_own(fedpriv, rows, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(study_text(("l2_clip_norm = 1.0", "l2_clip_norm = 1.0\nnoise_multiplier = 2.0")))
    assert fedpriv("audit", "attack", "one-run", "--study", path, "--canaries", "200").code == 0
    assert rows[1] == [("small", 200)]


def test_a_study_that_claims_nothing_is_a_mistake(fedpriv, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        study_text(
            ('noise = "local"', 'noise = "none"\nnoise_multiplier = 0.0'), ("epsilon = 8.0", "epsilon = inf")
        )
    )
    outcome = fedpriv("audit", "attack", "one-run", "--study", path)
    assert outcome.code == 2
    assert "claims nothing" in outcome.err


def test_too_few_public_images_are_a_mistake(fedpriv, tmp_path):
    outcome = fedpriv("audit", "attack", "inversion", "--images", tmp_path / "nothing")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
