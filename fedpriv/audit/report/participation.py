"""Who took part in which round, and what each hospital's own journal says about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fedpriv.node.events import Close, Release, Reserve, Sign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.audit.evidence import JournalEvidence, RunEvidence
    from fedpriv.audit.journal_claims import Charged
    from fedpriv.coordinator.run_folder import RoundEnded


class Part(StrEnum):
    """What a hospital did in a round, as far as the coordinator's record goes."""

    IN_SUM = "in the sum"
    CHARGED = "asked to train, not in the sum"
    LEFT = "lost before it was asked to train"
    ABSENT = "not there"
    UNKNOWN = "the round was cut short, nobody knows"


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """One round; ``parts`` is in the order of the study's hospitals.

    ``began_unix_s`` is the earliest time in any journal, None if no journal tells.
    """

    number: int
    outcome: str
    reason: str
    began_unix_s: int | None
    parts: tuple[Part, ...]
    dropped: tuple[tuple[str, str], ...]

    def missing(self, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Who of the study's ``names`` was lost or not there, and why; in a failed round, who was lost."""
        reasons = dict(self.dropped)
        if self.outcome != "complete":
            return self.dropped
        return tuple(
            (name, reasons.get(name, part.value))
            for name, part in zip(names, self.parts, strict=True)
            if part not in {Part.IN_SUM, Part.UNKNOWN}
        )


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What a hospital's journal shows: counts of rows, and the digest of the last row (hex).

    ``closed`` rows show nothing but their place; they may be charges of other studies. ``epsilon`` is what
    the run's charges come to by PLD, ``epsilon_in_all`` what the same images spent in all runs and studies,
    None where closed rows leave that open.
    """

    rows: int
    closed: int
    charges: int
    charges_in_other_runs: int
    vectors: int
    receipts: int
    epsilon: float
    epsilon_in_all: float | None
    head: str


@dataclass(frozen=True, slots=True)
class HospitalFacts:
    """One hospital over all rounds; ``journal`` is None if it was not given."""

    name: str
    declared_units: int
    rounds_in_sum: int
    rounds_asked: int
    journal: JournalFacts | None


@dataclass(frozen=True, slots=True)
class Participation:
    """Rounds in the order of the record, hospitals in the order of the study."""

    rounds: tuple[RoundFacts, ...]
    hospitals: tuple[HospitalFacts, ...]


def participation_of(
    run: RunEvidence, journals: Sequence[JournalEvidence], charged: Sequence[Charged]
) -> Participation:
    """Put the record, the journals and what each of them ``charged`` side by side."""
    ended = {line.round: line for line in run.ended}
    began = _first_times(run, journals)
    shown = {
        journal.hospital: _journal_facts(run, journal, cost)
        for journal, cost in zip(journals, charged, strict=True)
    }
    return Participation(
        rounds=tuple(
            _round_facts(run, number, ended.get(number), began.get(number)) for number in run.started
        ),
        hospitals=tuple(
            HospitalFacts(
                name=name,
                declared_units=units,
                rounds_in_sum=sum(name in line.cohort for line in run.ended),
                rounds_asked=sum(name in line.asked_to_train for line in run.ended),
                journal=shown.get(name),
            )
            for name, units in run.study.hospitals.items()
        ),
    )


def _round_facts(run: RunEvidence, number: int, ended: RoundEnded | None, began: int | None) -> RoundFacts:
    names = run.study.names
    if ended is None:
        return RoundFacts(number, "cut short", "", began, tuple(Part.UNKNOWN for _ in names), ())
    return RoundFacts(
        number=number,
        outcome=ended.outcome,
        reason=ended.reason,
        began_unix_s=began,
        parts=tuple(_part(ended, name) for name in names),
        dropped=tuple(sorted(ended.dropped.items())),
    )


def _part(ended: RoundEnded, name: str) -> Part:
    if name in ended.cohort:
        return Part.IN_SUM
    if name in ended.asked_to_train:
        return Part.CHARGED
    seen = name in ended.dropped or any(entry.name == name for entry in ended.record.advertisements)
    return Part.LEFT if seen else Part.ABSENT


def _first_times(run: RunEvidence, journals: Sequence[JournalEvidence]) -> dict[int, int]:
    times: dict[int, int] = {}
    for journal in journals:
        for row in journal.rows:
            if isinstance(row.event, Sign | Reserve) and row.event.run == run.run:
                known = times.setdefault(row.event.round, row.unix_time_s)
                times[row.event.round] = min(known, row.unix_time_s)
    return times


def _journal_facts(run: RunEvidence, journal: JournalEvidence, cost: Charged) -> JournalFacts:
    events = [row.event for row in journal.rows]
    charges = [event for event in events if isinstance(event, Reserve)]
    here = sum(charge.run == run.run for charge in charges)
    return JournalFacts(
        rows=len(journal.heads),
        closed=journal.closed,
        charges=here,
        charges_in_other_runs=len(charges) - here,
        vectors=sum(isinstance(event, Release) and event.run == run.run for event in events),
        receipts=sum(isinstance(event, Close) and event.run == run.run for event in events),
        epsilon=cost.epsilon.pld,
        epsilon_in_all=None if cost.in_all is None else cost.in_all.pld,
        head=journal.heads[-1].hex() if journal.heads else "",
    )
