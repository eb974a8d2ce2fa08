"""`fedpriv audit conformance` as an auditor meets it; what it measures is tested in tests/audit."""

import pytest
from support.studies import study_text

from fedpriv.audit import conformance
from fedpriv.audit.conformance import Check, CheckName
from fedpriv.audit.finding import Finding

GOOD = Finding(holds=True, observed="deviation 1.000", p_value=0.25, catches="less")
BAD = Finding(holds=False, observed="weight 0.5", p_value=None, catches="microbatches")


@pytest.fixture
def measured(monkeypatch):
    """Stand-ins for the checks, which take seconds; the studies that they were asked for."""
    asked, findings = [], {CheckName.VARIANCE: GOOD, CheckName.CANARY: BAD}

    def checks(study):
        asked.append(study)
        privacy = study.privacy
        return [
            Check(name, privacy.noise, privacy.unit, lambda name=name: findings[name]) for name in findings
        ]

    monkeypatch.setattr(conformance, "checks", checks)
    return asked, findings


def test_one_line_a_check_and_exit_code_1_naming_the_one_that_fails(fedpriv, measured):
    outcome = fedpriv("audit", "conformance")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert lines[0].split(maxsplit=4)[:4] == ["ok", "local,", "image:", "noise"]
    assert "deviation 1.000; p = 0.25; would catch less" in lines[0]
    assert lines[1].startswith("FAIL  local, image: canary")
    kinds = ("local, image", "distributed, image", "local, patient", "distributed, patient")
    assert f"4 of 8 checks fail: {', '.join(f'canary ({kind})' for kind in kinds)}" in outcome.err


def test_nothing_fails_and_exit_code_0(fedpriv, measured):
    measured[1][CheckName.CANARY] = GOOD
    assert fedpriv("audit", "conformance").code == 0


def test_a_study_of_ones_own(fedpriv, measured, tmp_path):
    asked, _ = measured
    path = tmp_path / "study.toml"
    path.write_text(study_text(("l2_clip_norm = 1.0", "l2_clip_norm = 1.0\nnoise_multiplier = 2.0")))
    outcome = fedpriv("audit", "conformance", "--study", path, "--json")
    assert [study.study.name for study in asked] == ["small"]
    assert outcome.json["holds"] is False
    assert outcome.json["checks"][1] == {
        "noise": "local",
        "unit": "image",
        "check": "canary",
        "holds": False,
        "observed": "weight 0.5",
        "p_value": None,
        "catches": "microbatches",
    }


def test_a_check_that_cannot_even_run_does_not_hold():
    def broken():
        raise MemoryError("no room\nfor it")

    finding = Check(CheckName.CANARY, "local", "image", broken).run()
    assert not finding.holds
    assert finding.observed == "raised MemoryError: no room"


def test_a_study_that_was_never_planned_is_a_mistake(fedpriv, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(study_text())
    outcome = fedpriv("audit", "conformance", "--study", path)
    assert outcome.code == 2
    assert "has no noise_multiplier yet" in outcome.err
