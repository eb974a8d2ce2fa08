"""Every claim of a run and of the journals behind it, recomputed offline; TensorFlow takes no part.

Trusted is the roster alone, and that only as far as its fingerprint was compared. From it and the study
follow all keys, names and numbers; the coordinator's record must agree with what hospitals signed, and a
hospital's journal with what it signed for others. So an old copy of a journal is found through any later
round that its hospital took part in: its signed advertisement names the head that the journal had.

*Formal guarantee*: if no claim fails, the run went as recorded with respect to every hospital whose journal
was given, unless signing keys were stolen; of the others the record shows only what they signed. What the
evidence leaves open is listed as *not shown*, never as holding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.audit.journal_claims import verify_journal, verify_witnesses
from fedpriv.audit.run_claims import verify_run
from fedpriv.plan import coalitions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.audit.claims import Claims, Failure, NotShown
    from fedpriv.audit.evidence import JournalEvidence, RunEvidence
    from fedpriv.audit.journal_claims import Charged
    from fedpriv.dp.accounting import Epsilon
    from fedpriv.identity.roster import Roster
    from fedpriv.plan import Coalition


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many claims were recomputed, which failed, and of which nothing can be said.

    ``spent`` is of the run, by both accountants, against the world and the coordinator and as many colluders
    as the study tolerates; None without a run, or if that cannot be said. ``coalitions``: the same against
    fewer and more of the hospitals, empty unless noise is distributed, since noise of its own protects a
    hospital against all others alike. ``charged``: what each journal says, in the order given.
    """

    checked: int
    failures: tuple[Failure, ...]
    not_shown: tuple[NotShown, ...]
    spent: Epsilon | None
    coalitions: tuple[Coalition, ...]
    charged: tuple[Charged, ...]


def verify(
    claims: Claims, roster: Roster, run: RunEvidence | None, journals: Sequence[JournalEvidence]
) -> Verdict:
    """Recompute all that ``run`` and ``journals`` claim; ``claims`` has what reading them came to."""
    spent: Epsilon | None = None
    against: tuple[Coalition, ...] = ()
    charged: list[Charged] = []
    if run is not None:
        spent = verify_run(claims, run, roster)
        if spent is not None:
            against = coalitions(run.study, run.charged)
            charged = [verify_journal(claims, journal, run, spent) for journal in journals]
        for name in sorted(set(run.study.names) - {journal.hospital for journal in journals}):
            claims.leave_open(f"journal of {name}", "what it charged, and that it released nothing else")
    verify_witnesses(claims, journals, roster)
    return Verdict(
        claims.checked, tuple(claims.failures), tuple(claims.not_shown), spent, against, tuple(charged)
    )
