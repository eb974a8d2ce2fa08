"""A report as one record for scripts: everything that the page shows, unrounded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fedpriv.audit.report.checklist import checklist_of
from fedpriv.audit.report.fields import fields_of
from fedpriv.audit.report.page import claim_sentence
from fedpriv.plan import candidates_line

if TYPE_CHECKING:
    from fedpriv.audit.report.subject import Subject


def record_of(subject: Subject) -> dict[str, object]:
    """The record, of what JSON can hold; an infinite number becomes null there."""
    study, facts, verdict = subject.study, subject.facts, subject.verdict
    return {
        "verified": not verdict.failures,
        "claim": claim_sentence(subject),
        "candidates": candidates_line(study.privacy.unit, facts.candidate_success),
        "bundle": subject.bundle.sha256,
        "roster_fingerprint": subject.bundle.roster.fingerprint,
        "roster_fingerprint_compared": subject.fingerprint_compared,
        "study_digest": study.digest.hex(),
        "study": study,
        "verdict": asdict(verdict),
        "facts": asdict(facts),
        "trade_off": facts.curve.hit_rates,
        "fields": fields_of(subject),
        "checklist": checklist_of(subject),
    }
