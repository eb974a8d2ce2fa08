"""What a report reads of other commands is what they print."""

from dataclasses import asdict

import msgspec
import numpy as np

from fedpriv.audit.attack.row import Role, Row
from fedpriv.audit.conformance import CheckName, checks, installed_mechanisms
from fedpriv.audit.report.attached import Attacks, Conformance, Utility
from fedpriv.audit.report.checklist import checklist_of
from fedpriv.model.evaluate import evaluate

from .conftest import CHECKS, conformance


def test_the_checks_are_those_of_the_conformance_measurement():
    assert set(CHECKS) == set(CheckName)
    kinds = {(check.noise, check.unit) for study in installed_mechanisms() for check in checks(study)}
    assert {("local", "image"), ("distributed", "patient")} <= kinds
    found = msgspec.convert(conformance(noise="distributed", unit="patient"), Conformance)
    assert len(found.about("distributed", "patient")) == len(CheckName)


def test_every_check_answers_a_question_of_the_checklist(subject):
    places = " ".join(item.where for item in checklist_of(subject()))
    for name in CheckName:
        assert name in places


def test_a_row_of_an_attack_is_read_as_it_is_printed():
    row = Row(
        "one-run, local noise", "run as planned", Role.SUBJECT, "seen", "epsilon 3.49", True, {"right": 60.0}
    )
    printed = msgspec.json.encode(
        {"contradicted": False, "rows": [{**asdict(row), "conclusion": row.conclusion}]}
    )
    (found,) = msgspec.json.decode(printed, type=Attacks).of("local")
    assert (found.role, found.holds, found.conclusion) == ("subject", True, row.conclusion)
    assert msgspec.json.decode(printed, type=Attacks).of("distributed") == []


def test_an_evaluation_is_read_as_it_is_printed():
    result = evaluate(np.eye(2), np.array([0, 1]), ("Benign", "Pro"))
    found = msgspec.json.decode(msgspec.json.encode(result), type=Utility)
    assert (found.images, found.accuracy) == (2, 1.0)
