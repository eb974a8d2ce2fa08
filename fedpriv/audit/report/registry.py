"""A run in the form of the public registry of deployments, as far as a bundle can fill it in.

What only the federation knows (region, curators, use) is left to it, in words that a reviewer cannot miss.

*Source*: Dwork, Kohli and Mulligan 2019 (an epsilon registry); the field names are those of the records in
github.com/opendp/deployments-registry-data. JSON is YAML, so what is printed here can be sent there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fedpriv.audit.report.fields import Field, fields_of, refuse_unknown
from fedpriv.plan import candidates_line

if TYPE_CHECKING:
    from fedpriv.audit.report.subject import Subject

TO_BE_WRITTEN = "TO BE WRITTEN by the federation: no bundle says this"


def registry_entry(subject: Subject) -> dict[str, Any]:
    """The record of a run whose claims all hold; Refused if a required statement is missing."""
    listed = fields_of(subject)
    refuse_unknown(listed)
    says = {field.name: _value(field) for field in listed}
    study, facts = subject.study, subject.facts
    privacy = study.privacy
    return {
        "url_slug": f"{study.study.name}-{subject.bundle.contents.run[:8]}".lower().replace(" ", "-"),
        "status": "Draft",
        "tier": 3,
        "deployment": {
            "basic": {
                "name": study.study.name,
                "data_curators": [
                    {"data_curator_name": name, "data_curator_type": TO_BE_WRITTEN} for name in study.names
                ],
                "intended_use": TO_BE_WRITTEN,
                "data_product_type": "Machine learning model",
                "data_product_region": TO_BE_WRITTEN,
                "description": f"An image classifier ({', '.join(study.study.classes)}), trained by "
                f"{len(study.hospitals)} hospitals together: federated learning under secure aggregation.",
                "publication_date": _date(subject),
                "data_product_sector": "Healthcare",
            },
            "dp_variant": {
                "variant_name": "Approximate DP" if facts.private else "Custom",
                "data_domain": f"Images of {len(study.hospitals)} hospitals, {study.units} declared units.",
                "unprotected_quantities": "The declared number of units of each hospital; who took part in "
                "which round; for how long.",
            },
            "privacy_loss": {
                "privacy_unit": f"{privacy.unit.capitalize()}-level",
                "privacy_unit_details": f"{says['adjacency']}. Records per unit: {says['records per unit']}.",
                "privacy_parameters": {"epsilon": facts.spent.pld, "delta": privacy.delta}
                if facts.private
                else {},
                "privacy_parameters_details": f"PLD epsilon; RDP gives {facts.spent.rdp:.6g}. In words: "
                f"{candidates_line(privacy.unit, facts.candidate_success)}.",
            },
            "deployment_model": {
                "model_name": "Federated",
                "model_name_details": says["trust model"],
                "actors": "Hospitals, each trusted with its own images. A coordinator, trusted with nothing "
                f"but being there, also in league with at most {study.secure_aggregation.colluders} of them. "
                "Whoever gets the model.",
                "release_type": "One release",
                "release_type_details": says["release"],
                "data_source_type": "Static",
                "access_type": "Non-interactive",
            },
            "accounting": {
                "post_processing": "The coordinator's optimizer, momentum and averaging see noisy sums only.",
                "composition": f"{says['composition']}. Accountant: {says['accountant and version']}.",
            },
            "implementation": {
                "preprocessing_and_hyperparameter_tuning": "Fixed preprocessing, nothing computed from data. "
                f"Tuning: {says['tuning']}.",
                "mechanisms": "DP-SGD. "
                + " ".join(
                    f"{name.capitalize()}: {says[name]}."
                    for name in (
                        "clip norm",
                        "noise multiplier",
                        "sampling assumed",
                        "sampling performed",
                        "steps",
                        "random source",
                        "precision",
                        "layers",
                    )
                ),
                "justification": f"All {subject.verdict.checked} claims recomputed from signed records hold. "
                f"Audit: {says['audit, with its ceiling']}. Attacks: {says['attacks']}. "
                f"Utility: {says['utility']}.",
            },
            "administrative": {
                "sources": f"Bundle with SHA-256 {subject.bundle.sha256}; versions: {says['versions']}.",
                "registry_authors": [TO_BE_WRITTEN],
            },
        },
    }


def _value(field: Field) -> str:
    return field.value or ""


def _date(subject: Subject) -> str:
    """The day of the last round, by the hospitals' journals."""
    times = [
        line.began_unix_s for line in subject.facts.participation.rounds if line.began_unix_s is not None
    ]
    try:
        return f"{datetime.fromtimestamp(max(times), UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):  # no journal tells, or it tells nonsense
        return TO_BE_WRITTEN
