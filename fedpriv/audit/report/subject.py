"""What a report is about: a bundle, the verdict on it, and what the auditor brought along."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.audit.report.facts import Facts, facts_of

if TYPE_CHECKING:
    from fedpriv.audit.bundle import Bundle
    from fedpriv.audit.evidence import RunEvidence
    from fedpriv.audit.report.attached import Attached
    from fedpriv.audit.verify import Verdict
    from fedpriv.study import Study


@dataclass(frozen=True, slots=True)
class Subject:
    """A run about whose cost something can be said; ``attached`` is evidence of the auditor's own.

    ``fingerprint_compared``: the roster's fingerprint was given to the command, and is the bundle's.
    """

    bundle: Bundle
    run: RunEvidence
    verdict: Verdict
    facts: Facts
    attached: Attached
    fingerprint_compared: bool

    @property
    def study(self) -> Study:
        """What was trained."""
        return self.run.study


def subject_of(
    bundle: Bundle, verdict: Verdict, attached: Attached, *, fingerprint_compared: bool
) -> Subject | None:
    """Compute all facts; None if the bundle's run cannot be read or nothing can be said of its cost."""
    if bundle.run is None:
        return None
    facts = facts_of(bundle.run, bundle.journals, verdict)
    if facts is None:
        return None
    return Subject(bundle, bundle.run, verdict, facts, attached, fingerprint_compared)


def number(value: float) -> str:
    """Four significant digits, no exponent where none is needed; infinity in words."""
    if math.isinf(value):
        return "infinite"
    return f"{value:.4g}"


def counted(count: int, noun: str) -> str:
    """1 round, 2 rounds."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
