"""What a hospital's journal claims, against what the hospital signed for others, and theirs against it."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.audit.composition import composed
from fedpriv.coordinator.run_folder import RoundStarted
from fedpriv.errors import ProtocolRefused
from fedpriv.node.events import Approve, Close, Rekey, Release, Reserve, Sign
from fedpriv.secagg.messages import RoundReceipt, Stage, decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.audit.claims import Claims
    from fedpriv.audit.evidence import JournalEvidence, RunEvidence
    from fedpriv.dp.accounting import Epsilon
    from fedpriv.identity.roster import Roster
    from fedpriv.secagg.messages import Advertisement, Agreement, Closed


@dataclass(frozen=True, slots=True)
class Charged:
    """What a journal charged one unit of its hospital, at the delta of the study.

    ``rounds`` of the run came to ``epsilon``; ``in_all`` is what the same images have spent in all runs and
    studies together, None if rows are closed that may be charges, or if the run charged nothing.
    """

    hospital: str
    rounds: int
    epsilon: Epsilon
    in_all: Epsilon | None


def verify_journal(claims: Claims, journal: JournalEvidence, run: RunEvidence, spent: Epsilon) -> Charged:
    """Hold a hospital's journal against what it signed in ``run``, and the record against the journal.

    ``spent`` is what the run costs by its record.
    """
    heads = _Heads(journal)
    for ended in run.ended:
        for entry in ended.record.advertisements:
            if entry.name == journal.hospital:
                heads.require(claims, entry.journal_head, f"it signed in round {ended.round}")
    for line in run.acknowledgements:
        for closed in line.acknowledgements:
            if closed.name == journal.hospital:
                heads.require(claims, closed.journal_head, f"it signed at the end of round {line.round}")
    _verify_charges(claims, journal, run)
    _verify_approvals(claims, journal, run)
    _verify_answers(claims, journal, run)
    for row in journal.rows:
        if isinstance(row.event, Rekey) and not row.event.consent:
            claims.leave_open(
                f"journal of {journal.hospital}, row {row.sequence}",
                "that no row before it is missing or changed: the old signing key was lost, so only the "
                "new one, and what others hold of the old one, stand for them",
            )
    return _verify_cost(claims, journal, run, spent)


def verify_witnesses(claims: Claims, journals: Sequence[JournalEvidence], roster: Roster) -> None:
    """Hold every journal against the receipts in the others: each names the heads of all hospitals."""
    heads = {journal.hospital: _Heads(journal) for journal in journals}
    for witness in journals:
        for row in witness.rows:
            if not isinstance(row.event, Close):
                continue
            place = f"journal of {witness.hospital}, row {row.sequence}"
            with claims.rule(place):
                receipt = decode(row.event.receipt, RoundReceipt)
                _verify_by_any(receipt, roster)
                for entry in receipt.journal_heads:
                    if entry.name in heads:
                        why = f"{witness.hospital}'s receipt of round {receipt.round} names"
                        heads[entry.name].require(claims, entry.head, why)


def _verify_by_any(receipt: RoundReceipt, roster: Roster) -> None:
    """Return if the coordinator signed it, by its key in the roster or in an earlier one."""
    for earlier in roster.lineage[:-1]:
        with contextlib.suppress(ProtocolRefused):
            receipt.verify(earlier.coordinator.signing_key)
            return
    receipt.verify(roster.coordinator.signing_key)


class _Heads:
    """Every head that a journal ever had; a head it lacks is a failure that names its last row."""

    def __init__(self, journal: JournalEvidence) -> None:
        self._place = f"journal of {journal.hospital}, row {len(journal.heads)}"
        self._digests = set(journal.heads)

    def require(self, claims: Claims, head: bytes, why: str) -> None:
        """Hold that ``head`` is one of them. It is never an empty journal's: an approval comes first."""
        lost = f"the journal ends here without the head {head.hex()[:16]} that {why}: "
        claims.hold(
            self._place, lost + "rows were lost, or an old copy was restored", given=head in self._digests
        )


def _verify_charges(claims: Claims, journal: JournalEvidence, run: RunEvidence) -> None:
    """Before each vector a charge of its own, of what a round costs; and no charge the record hides."""
    place = f"journal of {journal.hospital}"
    study, started = run.study, {line.round for line in run.lines if isinstance(line, RoundStarted)}
    unused: dict[int, int] = {}
    released: set[tuple[int, bytes]] = set()
    for row in journal.rows:
        event, where = row.event, f"{place}, row {row.sequence}"
        if isinstance(event, Reserve) and event.run == run.run:
            unused[event.round] = unused.get(event.round, 0) + 1
            right = (event.study_digest, event.unit, event.charge) == (
                study.digest,
                study.privacy.unit,
                study.cost_of(1),
            )
            claims.hold(where, "it is no charge of what a round of the study costs", given=right)
            claims.hold(
                where,
                f"round {event.round} was charged and is not in the record",
                given=event.round in started,
            )
        if isinstance(event, Release) and event.run == run.run:
            unused[event.round] = unused.get(event.round, 0) - 1
            released.add((event.round, event.vector_digest))
            claims.hold(where, "a vector left without a charge", given=unused[event.round] >= 0)
    for ended in run.ended:
        for update in ended.record.updates:
            if update.name == journal.hospital:
                claims.hold(
                    place,
                    f"it has no row for the vector that {update.name} signed in round {ended.round}",
                    given=(ended.round, update.vector_digest) in released,
                )


def _verify_approvals(claims: Claims, journal: JournalEvidence, run: RunEvidence) -> None:
    """Each approval of the study grants all of its rounds once; what is charged was granted before."""
    granted = charged = 0
    for row in journal.rows:
        event = row.event
        if isinstance(event, Approve) and event.study_digest == run.study.digest:
            granted += run.study.training.rounds
        if isinstance(event, Reserve) and event.study_digest == run.study.digest:
            charged += 1
            claims.hold(
                f"journal of {journal.hospital}, row {row.sequence}",
                f"charge {charged} of the study, and {granted} rounds of it were approved before",
                given=charged <= granted,
            )


def _verify_cost(claims: Claims, journal: JournalEvidence, run: RunEvidence, spent: Epsilon) -> Charged:
    """Both accountants' sum of the run's charges is no more than the run says it cost."""
    place, delta = f"journal of {journal.hospital}", run.study.privacy.delta
    reserves = [row.event for row in journal.rows if isinstance(row.event, Reserve)]
    own = [event for event in reserves if event.run == run.run]
    epsilon = composed(tuple(event.charge for event in own), delta)
    claims.hold(
        place,
        f"its {len(own)} charges cost epsilon {epsilon.pld:.6g} (RDP {epsilon.rdp:.6g}), the run says "
        f"{spent.pld:.6g} (RDP {spent.rdp:.6g})",
        given=epsilon.pld <= spent.pld and epsilon.rdp <= spent.rdp,
    )
    datasets = {event.dataset for event in own}
    claims.hold(place, "one run was charged to several datasets", given=len(datasets) <= 1)
    in_all = None
    if journal.closed:
        claims.leave_open(
            place,
            f"what its images spent in other studies: {journal.closed} of {len(journal.heads)} rows are "
            "closed (other studies and runs, refusals)",
        )
    elif own:
        in_all = composed(tuple(event.charge for event in reserves if event.dataset in datasets), delta)
    return Charged(journal.hospital, len(own), epsilon, in_all)


def _verify_answers(claims: Claims, journal: JournalEvidence, run: RunEvidence) -> None:
    """Each message in the record is the one answer that the journal knows of at its stage."""
    answers = {
        (row.event.round, row.event.stage): row.event.answer_digest
        for row in journal.rows
        if isinstance(row.event, Sign) and row.event.run == run.run
    }
    receipts = {ended.round: ended.record.receipt for ended in run.ended}
    for row in journal.rows:
        if isinstance(row.event, Close) and row.event.run == run.run:
            receipt = receipts.get(row.event.round)
            claims.hold(
                f"journal of {journal.hospital}, row {row.sequence}",
                f"it holds another receipt of round {row.event.round} than the record",
                given=receipt is not None and encode(receipt) == row.event.receipt,
            )
    signed: list[tuple[int, Stage, Sequence[Advertisement | Agreement | Closed]]] = [
        *((ended.round, Stage.ADVERTISE, ended.record.advertisements) for ended in run.ended),
        *((ended.round, Stage.AGREE, ended.record.agreements) for ended in run.ended),
        *((line.round, Stage.CLOSE, line.acknowledgements) for line in run.acknowledgements),
    ]
    for number, stage, entries in signed:
        for entry in entries:
            if entry.name == journal.hospital:
                claims.hold(
                    f"journal of {journal.hospital}",
                    f"it does not know the answer that was signed in round {number}, {stage.name}",
                    given=answers.get((number, stage)) == hashlib.sha256(encode(entry)).digest(),
                )
