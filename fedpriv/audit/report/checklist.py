"""The questions an auditor works through, each answered from the evidence or marked *not shown*.

Five groups: the claim, the mechanism, its composition, its surroundings, the evidence. A question is *not
shown* wherever the bundle and what was attached leave it open; nothing counts as shown because it is usual.

*Source*: NIST SP 800-226 on the unit, trust models and hazards of implementations; Ponomareva et al. 2023,
section 5.3; Dwork, Kohli and Mulligan 2019 (what a registry asks for).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fedpriv.audit.report.subject import counted, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedpriv.audit.report.subject import Subject


class Answer(StrEnum):
    """What an item comes to."""

    SHOWN = "shown"
    LIMITED = "shown, with a limit"
    NOT_SHOWN = "not shown"
    FAILS = "FAILS"


class Group(StrEnum):
    """In the order in which they are asked."""

    CLAIM = "The claim"
    MECHANISM = "The mechanism"
    COMPOSITION = "The composition"
    SURROUNDINGS = "The surroundings"
    EVIDENCE = "The evidence"


@dataclass(frozen=True, slots=True)
class Item:
    """One question; ``where`` says in which records, files or fields the answer can be looked up."""

    group: Group
    question: str
    answer: Answer
    because: str
    where: str


def checklist_of(subject: Subject) -> tuple[Item, ...]:
    """Every item, group by group; each failed claim of the verdict fails at least one of them."""
    return (
        *_claim(subject),
        *_mechanism(subject),
        *_composition(subject),
        *_surroundings(subject),
        *_evidence(subject),
    )


def _claim(subject: Subject) -> Iterator[Item]:
    study, facts = subject.study, subject.facts
    privacy = study.privacy
    person = privacy.unit == "patient"
    yield Item(
        Group.CLAIM,
        "Is the unit a person?",
        Answer.SHOWN if person else Answer.LIMITED,
        f"a patient, with at most {privacy.images_per_patient} images in a step"
        if person
        else "no, an image; "
        + "; ".join(
            f"a patient with {group.units} images has epsilon {number(group.epsilon)}"
            for group in facts.groups
        ),
        "study, [privacy] unit",
    )
    yield _held(
        subject,
        Group.CLAIM,
        "Does the claim cover the whole training, and does it follow from the records?",
        f"epsilon {number(facts.spent.pld)} by PLD and {number(facts.spent.rdp)} by RDP over "
        f"{counted(facts.charged, 'charged round')}; the model's card and the study say no less",
        "rounds.jsonl, model/card.json, study, [privacy] epsilon",
        "epsilon",
        "model card",
    )
    yield Item(
        Group.CLAIM,
        "Is delta far below one in the number of units?",
        Answer.SHOWN,
        f"delta x declared units = {privacy.delta * study.units:.2g}, must be below 1",
        "study, [privacy] delta and [hospitals]",
    )
    yield Item(
        Group.CLAIM,
        "Does the number promise anything to a person?",
        Answer.SHOWN if facts.private else Answer.NOT_SHOWN,
        f"the right one of 100 candidates is picked at most {100 * facts.candidate_success:.3g} % of the time"
        if facts.private
        else "no noise was added",
        "computed from the whole PLD curve",
    )


def _mechanism(subject: Subject) -> Iterator[Item]:
    study, facts = subject.study, subject.facts
    distributed = study.privacy.noise == "distributed"
    short = [cohort for cohort in facts.cohorts if not cohort.enough]
    least = min((cohort.before_colluders for cohort in facts.cohorts), default=None)
    yield Item(
        Group.MECHANISM,
        "Does every opened sum carry the noise that was charged?",
        Answer.NOT_SHOWN if least is None or not facts.private else Answer.FAILS if short else Answer.LIMITED,
        "no sum was opened, or no noise was added"
        if least is None or not facts.private
        else f"by who signed each sum it faces the planned colluders with a noise multiplier of at least "
        f"{number(least)}; {number(study.noise_multiplier)} is due. That the hospitals drew it is their word"
        if distributed
        else f"each hospital adds {number(study.noise_multiplier)} to its own steps; that it did is its word",
        "rounds.jsonl, cohort; study, [privacy] noise_multiplier",
    )
    for question, names in (
        ("Is the noise of the stated variance, normal, and fresh in each step?", _NOISE_CHECKS),
        ("Does clipping bound what one unit can move?", ("sensitivity", "canary")),
        ("Are batches sampled as the accountant assumes?", ("batch sizes",)),
        ("Are divisors public, and is an empty batch noise?", ("divisor", "empty batch")),
        ("Do broken records leave the bound alone?", ("broken records",)),
        ("Is every layer one that neither mixes nor remembers records?", ("layers",)),
    ):
        yield _measured(subject, Group.MECHANISM, question, names)


_NOISE_CHECKS = ("noise variance", "noise normality", "noise of steps", "noise of hospitals")


def _composition(subject: Subject) -> Iterator[Item]:
    study, facts = subject.study, subject.facts
    hospitals = facts.participation.hospitals
    missing = [hospital.name for hospital in hospitals if hospital.journal is None]
    charges = ", ".join(
        f"{hospital.name} {hospital.journal.charges}"
        for hospital in hospitals
        if hospital.journal is not None
    )
    paid = _held(
        subject,
        Group.COMPOSITION,
        "Was every update paid for before it left?",
        f"charges by the hospitals' signed journals: {charges}",
        "journals/, rows of kind reserve and release",
        "journal of",
    )
    if missing and paid.answer is not Answer.FAILS:
        none = len(missing) == len(hospitals)
        paid = Item(
            paid.group,
            paid.question,
            Answer.NOT_SHOWN if none else Answer.LIMITED,
            f"no journal of {', '.join(missing)}" + ("" if none else f"; {paid.because}"),
            paid.where,
        )
    yield paid
    yield Item(
        Group.COMPOSITION,
        "Do failed and repeated rounds count?",
        Answer.SHOWN,
        f"{counted(facts.failed, 'round')} failed or cut short; all that asked anybody to train are charged",
        "rounds.jsonl, asked_to_train",
    )
    journals = {hospital.name: hospital.journal for hospital in hospitals if hospital.journal is not None}
    more = [
        f"{name} charged {counted(journal.charges_in_other_runs, 'round')} in other runs"
        + ("" if journal.epsilon_in_all is None else f", epsilon {number(journal.epsilon_in_all)} in all")
        for name, journal in journals.items()
        if journal.charges_in_other_runs
    ]
    closed = [
        f"{name} keeps {counted(journal.closed, 'row')} closed"
        for name, journal in journals.items()
        if journal.closed
    ]
    yield Item(
        Group.COMPOSITION,
        "Were the same images used in other studies?",
        Answer.NOT_SHOWN if closed or missing else Answer.LIMITED if more else Answer.SHOWN,
        "; ".join([*more, *closed, *(f"no journal of {name}" for name in missing)])
        or "the journals hold no other charge",
        "journals/; the hospital's own fedpriv node budget",
    )
    yield Item(
        Group.COMPOSITION,
        "Do two accountants agree?",
        Answer.SHOWN if facts.spent.pld <= facts.spent.rdp else Answer.FAILS,
        f"PLD {number(facts.spent.pld)} is not above RDP {number(facts.spent.rdp)}",
        "computed anew",
    )
    tuning = subject.attached.tuning
    yield Item(
        Group.COMPOSITION,
        "Were settings chosen without looking at private images, or was that charged?",
        Answer.LIMITED if tuning else Answer.NOT_SHOWN,
        f"the operator states: {tuning}" if tuning else "nobody stated it",
        f"study {study.digest.hex()[:16]} was approved before the first round",
    )


def _surroundings(subject: Subject) -> Iterator[Item]:
    study, rules = subject.study, subject.study.secure_aggregation
    roster = subject.bundle.roster
    due = max(study.threshold, rules.smallest_cohort, len(study.hospitals) - rules.dropouts)
    smallest = min((len(cohort.hospitals) for cohort in subject.facts.cohorts), default=0)
    yield Item(
        Group.SURROUNDINGS,
        "Are the members those whom the hospitals pinned?",
        Answer.SHOWN if subject.fingerprint_compared else Answer.NOT_SHOWN,
        f"fingerprint {roster.fingerprint}"
        + ("" if subject.fingerprint_compared else ": compare it with a hospital's, by telephone"),
        "roster.toml; --roster-fingerprint",
    )
    yield _held(
        subject,
        Group.SURROUNDINGS,
        "Did all hospitals of a round see the same model, members and study?",
        "every signed view of every complete round is the same",
        "rounds.jsonl, context of each masked update",
        "round ",
    )
    yield _held(
        subject,
        Group.SURROUNDINGS,
        "Was a sum opened only with enough hospitals in it?",
        f"the smallest had {counted(smallest, 'hospital')} in it, {due} are due; at least {study.threshold} "
        "agreed to each list",
        "rounds.jsonl, agreements and updates",
        "round ",
    )
    yield _held(
        subject,
        Group.SURROUNDINGS,
        "Is the model in the bundle the one that came of these rounds?",
        "its hash is the one that the coordinator signed to every hospital in the last receipt"
        + (
            "; that it is the average of the rounds' models is not shown"
            if study.training.averaging
            else ", and the one that the last round made"
        ),
        "model/, rounds.jsonl, last receipt",
        "model",
    )
    yield _measured(
        subject,
        Group.SURROUNDINGS,
        "Does nothing leave a hospital beside the masked vector and signed messages?",
        ("neighbours",),
    )
    yield Item(
        Group.SURROUNDINGS,
        "Are the hospitals' own machines sound, and do no more collude than planned?",
        Answer.NOT_SHOWN,
        f"no record can show it; planned are at most {counted(rules.colluders, 'colluder')}",
        "docs/limitations.md",
    )


def _evidence(subject: Subject) -> Iterator[Item]:
    verdict, attached = subject.verdict, subject.attached
    failures = verdict.failures
    yield Item(
        Group.EVIDENCE,
        "Do all signatures, hash chains and recomputed claims hold?",
        Answer.FAILS if failures else Answer.SHOWN,
        f"{verdict.checked - len(failures)} of {counted(verdict.checked, 'claim')} hold"
        + (f"; first failure: {failures[0].record}: {failures[0].reason}" if failures else ""),
        "fedpriv audit verify",
    )
    privacy, conformance = subject.study.privacy, attached.conformance
    results = [] if conformance is None else conformance.content.about(privacy.noise, privacy.unit)
    held = sum(result.holds for result in results)
    yield Item(
        Group.EVIDENCE,
        "Was the mechanism measured, not only read?",
        Answer.NOT_SHOWN if not results else Answer.LIMITED if held == len(results) else Answer.FAILS,
        f"{held} of {counted(len(results), 'check')} hold, on the auditor's installation"
        if results
        else "no conformance measurement of this kind of noise and unit was attached",
        "fedpriv audit conformance --json; --conformance",
    )
    yield _attacked(subject)
    utility = attached.utility
    yield Item(
        Group.EVIDENCE,
        "Is the model useful enough to be worth its cost?",
        Answer.NOT_SHOWN if utility is None else Answer.LIMITED,
        "no evaluation was attached"
        if utility is None
        else f"accuracy {100 * utility.content.accuracy:.1f} % on {utility.content.images} images",
        "fedpriv model evaluate --json; --utility",
    )


def _attacked(subject: Subject) -> Item:
    """An attack shows something only if it succeeds where nothing protects."""
    rows = subject.attached.attack_rows(subject.study.privacy.noise)
    against = [row for row in rows if row.role == "subject"]
    powerless = [row for row in rows if row.role == "control" and not row.holds]
    if contradicting := [row for row in against if not row.holds]:
        answer, because = Answer.FAILS, [f"{row.attack}: {row.observed}" for row in contradicting]
    elif powerless:
        answer = Answer.NOT_SHOWN
        because = [f"{row.attack}: {row.conclusion}" for row in powerless]
    elif against:
        answer = Answer.LIMITED
        because = [f"{row.attack}, {row.subject}: {row.conclusion}" for row in against]
    else:
        answer, because = Answer.NOT_SHOWN, ["no attack on this kind of noise was attached"]
    return Item(
        Group.EVIDENCE,
        "Was the claim attacked, and could the attack have found a contradiction?",
        answer,
        "; ".join(because),
        "fedpriv audit attack --json; --attacks",
    )


def _held(subject: Subject, group: Group, question: str, because: str, where: str, *records: str) -> Item:
    """Shown unless a claim failed whose record begins as one of ``records``."""
    failures = [failure for failure in subject.verdict.failures if failure.record.startswith(records)]
    if not failures:
        return Item(group, question, Answer.SHOWN, because, where)
    more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
    return Item(group, question, Answer.FAILS, f"{failures[0].record}: {failures[0].reason}{more}", where)


def _measured(subject: Subject, group: Group, question: str, names: tuple[str, ...]) -> Item:
    """What the attached conformance measurement says of these checks for the study's noise and unit."""
    where = f"fedpriv audit conformance: {', '.join(names)}; --conformance"
    attached = subject.attached.conformance
    privacy = subject.study.privacy
    results = attached and attached.content.of(privacy.noise, privacy.unit, names)
    if not results:
        return Item(group, question, Answer.NOT_SHOWN, "no conformance measurement was attached", where)
    broken = [result for result in results if not result.holds]
    return Item(
        group,
        question,
        Answer.FAILS if broken else Answer.LIMITED,
        "; ".join(f"{result.check}: {result.observed}" for result in broken or results)
        + ("" if broken else "; measured on the auditor's installation, not in the hospitals"),
        where,
    )
