"""Every claim of a run and of the journals behind it, recomputed offline; TensorFlow takes no part.

Trusted is the roster alone, and that only as far as its fingerprint was compared. From it and the study
follow all keys, names and numbers; the coordinator's record must agree with what hospitals signed, and a
hospital's journal with what it signed for others. So an old copy of a journal is found through any later
round that its hospital took part in: its signed advertisement names the head that the journal had.

*Formal guarantee*: if no claim fails, the run went as recorded with respect to every hospital whose journal
was given, unless signing keys were stolen; of the others the record shows only what they signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.audit.journal_claims import verify_journal, verify_witnesses
from fedpriv.audit.run_claims import verify_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.audit.claims import Claims, Failure
    from fedpriv.audit.evidence import JournalEvidence, RunEvidence
    from fedpriv.dp.accounting import Epsilon
    from fedpriv.identity.roster import Roster


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many claims were recomputed and which failed; ``spent`` is of the run, None without one."""

    checked: int
    failures: tuple[Failure, ...]
    spent: Epsilon | None


def verify(
    claims: Claims, roster: Roster, run: RunEvidence | None, journals: Sequence[JournalEvidence]
) -> Verdict:
    """Recompute all that ``run`` and ``journals`` claim; ``claims`` has what reading them came to."""
    spent = None
    if run is not None:
        spent = verify_run(claims, run, roster)
        for journal in journals:
            verify_journal(claims, journal, run)
    verify_witnesses(claims, journals, roster)
    return Verdict(claims.checked, tuple(claims.failures), spent)
