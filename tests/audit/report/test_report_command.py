"""`fedpriv audit report` as an auditor types it."""

import json
import re
import subprocess
import sys

import msgspec
import pytest

from fedpriv.audit.report import paper
from fedpriv.audit.report.registry import TO_BE_WRITTEN, registry_entry
from fedpriv.coordinator.bundle import CARD, ROUNDS, STUDY, VECTOR
from fedpriv.model.folder import Card

from .conftest import conformance

UTILITY = {
    "images": 384,
    "accuracy": 0.742,
    "macro_f1": 0.731,
    "calibration_error": 0.05,
    "classes": [],
    "confusion": [],
}


def test_it_writes_one_page(report, tmp_path):
    outcome = report("--out", "report.html")
    assert (outcome.code, outcome.out, outcome.err) == (0, "written to report.html\n", "")
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.zip", "report.html"]


def test_the_fingerprint_is_compared_with_what_was_read(report, packed, tmp_path):
    fingerprint = packed.federation.roster.fingerprint
    assert report("--out", "report.html", "--roster-fingerprint", fingerprint.replace(" ", "")).code == 0
    assert "compared with the fingerprint that was read" in (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    outcome = report("--out", "report.html", "--roster-fingerprint", fingerprint[::-1])
    assert outcome.code == 1
    assert "the roster's fingerprint is" in outcome.err
    assert not (tmp_path / "report.html").exists()


def test_as_json_every_fact_is_there(report):
    found = report("--json").json
    assert found["verified"] is True
    assert found["facts"]["charged"] == 2
    assert found["facts"]["spent"] == found["verdict"]["spent"]
    assert found["facts"]["participation"]["rounds"][1]["parts"] == ["in the sum", "in the sum", "not there"]
    assert {"fields", "checklist", "candidates", "trade_off"} <= set(found)


def test_what_was_attached_is_in_it(report, tmp_path):
    (tmp_path / "conformance.json").write_text(json.dumps(conformance()))
    (tmp_path / "utility.json").write_text(json.dumps(UTILITY))
    found = report(
        "--json",
        "--conformance",
        "conformance.json",
        "--utility",
        "utility.json",
        "--tuning",
        "on drawn smears",
    ).json
    fields = {field["name"]: field for field in found["fields"]}
    assert fields["utility"]["value"] == (
        "accuracy 74.2 %, macro F1 0.731, calibration error 0.050 on 384 images"
    )
    assert fields["tuning"] == {"name": "tuning", "value": "on drawn smears", "source": "stated"}
    assert fields["sampling evidence"]["source"] == "attached"


def test_what_is_no_such_attachment_is_a_mistake(report, tmp_path):
    (tmp_path / "other.json").write_text('{"checks": "perhaps"}')
    outcome = report("--json", "--conformance", "other.json")
    assert outcome.code == 2
    assert "other.json: not what `fedpriv audit conformance --json` prints" in outcome.err
    outcome = report("--json", "--utility", "none.json")
    assert outcome.code == 2
    assert "none.json cannot be read" in outcome.err


def test_the_entry_for_the_registry(report, packed):
    entry = report("--registry").json
    assert set(entry) == {"url_slug", "status", "tier", "deployment"}
    deployment = entry["deployment"]
    assert list(deployment) == [
        "basic",
        "dp_variant",
        "privacy_loss",
        "deployment_model",
        "accounting",
        "implementation",
        "administrative",
    ]
    spent = packed.verdict(packed.bytes).spent
    assert deployment["privacy_loss"]["privacy_parameters"] == {"epsilon": spent.pld, "delta": 1e-5}
    assert deployment["dp_variant"]["variant_name"] == "Approximate DP"
    assert deployment["deployment_model"]["model_name"] == "Federated"
    assert deployment["basic"]["data_product_region"] == TO_BE_WRITTEN
    assert deployment["basic"]["publication_date"][:2] == "20"


def test_without_journals_the_day_is_left_to_the_federation(subject, packed):
    none = {path: None for path in packed.entries if path.startswith("journals/")}
    assert registry_entry(subject(none))["deployment"]["basic"]["publication_date"] == TO_BE_WRITTEN


def edited_card(packed):
    card = msgspec.json.decode(packed.entries[CARD], type=Card)
    return {CARD: msgspec.json.encode(msgspec.structs.replace(card, rounds=7))}


def test_a_bundle_that_fails_is_reported_as_failed(report, packed, tmp_path):
    outcome = report("--out", "report.html", changes=edited_card(packed))
    assert outcome.code == 1
    assert re.match(
        r"error: FAILED: 1 of \d+ claims, first model card: it counts 7 rounds, the record 2\n", outcome.err
    )
    page = (tmp_path / "report.html").read_text()
    assert page.index("FAILED") < page.index("<h1>")
    assert report("--json", changes=edited_card(packed)).json["verified"] is False
    nothing = report("--registry", changes=edited_card(packed))
    assert (nothing.code, nothing.out) == (1, "")


@pytest.mark.parametrize("broken", [{ROUNDS: b"no line\n"}, {STUDY: b"no study"}])
def test_a_bundle_of_which_nothing_can_be_said_gets_a_page_that_says_so(report, tmp_path, broken):
    outcome = report("--out", "report.html", changes=broken)
    assert outcome.code == 1
    page = (tmp_path / "report.html").read_text()
    assert "No report can be made of this bundle" in page
    assert page.index("FAILED") < page.index("<h1>")
    silent = report("--json", changes=broken)
    assert (silent.code, silent.out) == (1, "")


def test_a_run_without_a_model_is_refused_and_nothing_is_written(report, tmp_path):
    outcome = report("--out", "report.html", changes={ROUNDS: b"", CARD: None, VECTOR: None, **NO_JOURNALS})
    assert outcome.code == 1
    assert "the bundle does not say: release, layers, hashes" in outcome.err
    assert not (tmp_path / "report.html").exists()


NO_JOURNALS = {f"journals/{name}.json": None for name in "ABC"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no report is asked for"),
        (("--json", "--registry"), "--json and --registry both print"),
        (("--json", "--pdf"), "--pdf needs --out"),
    ],
)
def test_what_does_not_go_together_is_a_mistake(report, arguments, message):
    outcome = report(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""


def test_no_such_bundle_is_a_mistake(report, tmp_path):
    outcome = report("--out", "missing/report.html")
    assert outcome.code == 2
    assert "missing/report.html cannot be written" in outcome.err


def test_without_a_browser_pdf_is_refused_before_any_work(report, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = report("--out", "report.html", "--pdf")
    assert outcome.code == 2
    assert "no browser to print with" in outcome.err
    assert not (tmp_path / "report.html").exists()


def test_a_pdf_lies_beside_the_page(report, tmp_path):
    if not any(map(paper.shutil.which, paper.BROWSERS)):
        pytest.skip(f"none of {', '.join(paper.BROWSERS)} is on the PATH")
    assert report("--out", "report.html", "--pdf").code == 0
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.zip", "report.html", "report.pdf"]


def test_a_browser_that_does_not_print_is_one_line(report, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "chromium"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/bin")
    outcome = report("--out", "report.html", "--pdf")
    assert outcome.code == 2
    assert "did not print the report; it ended with 3" in outcome.err
    assert not (tmp_path / "report.pdf").exists()


def test_reporting_loads_no_tensorflow(packed, tmp_path):
    (tmp_path / "bundle.zip").write_bytes(packed.bytes)
    code = (
        "import sys; from fedpriv.cli.main import exit_code_of; "
        "assert exit_code_of(['audit', 'report', 'bundle.zip', '--out', 'report.html']) == 0; "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
