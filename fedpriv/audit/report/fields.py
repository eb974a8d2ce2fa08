"""The statements that every report makes, each with where it comes from; one that is missing refuses it.

A statement that no bundle can hold (how settings were tuned, what attacks found, how useful the model is) is
never missing: unless something was attached it says *not shown*, and the opinion has to live with that.

*Source*: NIST SP 800-226 (unit, hazards); Ponomareva et al. 2023, section 5.3 (what to report).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fedpriv.audit.report.subject import counted, number
from fedpriv.errors import Refused
from fedpriv.secagg import messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fedpriv.audit.report.attached import AttackRow
    from fedpriv.audit.report.subject import Subject

_SAMPLED_CHECKS = ("batch sizes",)
_ONE_RUN, _PROTECTED = "one-run", "subject"
_REPLIES = (
    messages.Advertisement,
    messages.ShareDelivery,
    messages.MaskedUpdate,
    messages.Agreement,
    messages.UnmaskShares,
    messages.Closed,
    messages.Refusal,
)


class Source(StrEnum):
    """Where a statement comes from, the strongest first."""

    RECOMPUTED = "recomputed"
    SIGNED = "signed"
    SOFTWARE = "software"
    ATTACHED = "attached"
    STATED = "stated"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Field:
    """One statement; ``value`` is None where it should be known and is not."""

    name: str
    value: str | None
    source: Source


def fields_of(subject: Subject) -> tuple[Field, ...]:
    """Every statement, in the order in which they are read."""
    return (*_claim(subject), *_mechanism(subject), *_course(subject), *_surroundings(subject))


def refuse_unknown(fields: Sequence[Field]) -> None:
    """Return if everything is known; Refused naming what is not."""
    unknown = [field.name for field in fields if field.value is None]
    if unknown:
        raise Refused(
            f"the bundle does not say: {', '.join(unknown)}; there is no report without them",
            hint="ask the coordinator for the bundle of a run with at least one complete round",
        )


def _claim(subject: Subject) -> Iterator[Field]:
    study, facts = subject.study, subject.facts
    privacy = study.privacy
    most = privacy.images_per_patient
    yield Field(
        "unit",
        "one image" if privacy.unit == "image" else "one patient, with all of the patient's images",
        Source.SIGNED,
    )
    yield Field(
        "records per unit",
        "1: each image counts by itself" if most is None else f"at most {most} images of a patient in a step",
        Source.SIGNED,
    )
    yield Field(
        "adjacency",
        f"add or remove one {privacy.unit}; declared units and divisors are public constants",
        Source.SOFTWARE,
    )
    yield Field("release", _release(subject), Source.RECOMPUTED)
    yield Field("trust model", _trust_model(subject), Source.SIGNED)
    claimed = f"epsilon {number(facts.spent.pld)} (PLD), {number(facts.spent.rdp)} (RDP)"
    if privacy.unit == "image":
        groups = "; ".join(
            f"with {group.units} images epsilon {number(group.epsilon)}" for group in facts.groups
        )
        yield Field("epsilon of an image", claimed, Source.RECOMPUTED)
        yield Field("epsilon of a patient", f"not claimed; {groups}", Source.RECOMPUTED)
    else:
        yield Field("epsilon of an image", "at most the patient's", Source.RECOMPUTED)
        yield Field("epsilon of a patient", claimed, Source.RECOMPUTED)
    yield Field("delta", f"{privacy.delta:g}, against 1 / {study.units} declared units", Source.SIGNED)
    yield Field("PLD curve", _curve(subject), Source.RECOMPUTED)


def _mechanism(subject: Subject) -> Iterator[Field]:
    study = subject.study
    training, privacy = study.training, study.privacy
    sampled = training.sampling_probability < 1
    yield Field(
        "sampling assumed",
        f"Poisson: each {privacy.unit} joins each step by a coin of its own"
        if sampled
        else f"none: every {privacy.unit} is in every step, and nothing is amplified",
        Source.SIGNED,
    )
    yield Field(
        "sampling performed",
        "Poisson; the sampler that flips the coins states the event that is accounted",
        Source.SOFTWARE,
    )
    conformance = subject.attached.conformance
    checks = conformance and conformance.content.of(privacy.noise, privacy.unit, _SAMPLED_CHECKS)
    yield Field(
        "sampling evidence",
        checks[0].observed if checks else "not shown: no conformance measurement was attached",
        Source.ATTACHED if checks else Source.NOT_SHOWN,
    )
    yield Field("clip norm", f"{privacy.l2_clip_norm:g} (L2), the same in every round", Source.SIGNED)
    yield Field("noise multiplier", number(study.noise_multiplier), Source.SIGNED)
    yield Field("expected batch", _batches(subject), Source.SIGNED)
    yield Field("sampling probability", f"{training.sampling_probability:g} in each step", Source.SIGNED)
    yield Field(
        "steps",
        f"{subject.facts.charged * training.local_steps}: {counted(subject.facts.charged, 'charged round')} "
        f"of {counted(training.local_steps, 'step')}",
        Source.RECOMPUTED,
    )
    yield Field(
        "random source",
        "AES-128 in counter mode, a fresh key of the operating system for every draw; no seed can be given",
        Source.SOFTWARE,
    )
    yield Field("precision", _precision(subject), Source.SOFTWARE)
    parameters = None if subject.run.card is None else subject.run.card.parameters
    yield Field(
        "layers",
        None
        if parameters is None
        else f"{study.model.name}, {parameters} trained parameters, of types on a closed list; none mixes or "
        "remembers records",
        Source.SOFTWARE,
    )


def _course(subject: Subject) -> Iterator[Field]:
    versions = subject.bundle.contents.versions
    accounting = versions.get("dp-accounting")
    yield Field(
        "accountant and version",
        None if accounting is None else f"dp_accounting {accounting}: PLD is reported, RDP checks it",
        Source.RECOMPUTED,
    )
    rows = [
        f"{hospital.name}: {counted(hospital.journal.charges, 'charge')}"
        for hospital in subject.facts.participation.hospitals
        if hospital.journal is not None
    ]
    yield Field(
        "composition",
        f"{counted(subject.facts.charged, 'charged round')}, failed ones included, composed adaptively; "
        + (f"journal rows: {', '.join(rows)}" if rows else "no journal is in the bundle"),
        Source.RECOMPUTED,
    )
    tuning = subject.attached.tuning
    yield Field(
        "tuning",
        tuning or "not shown: nobody stated on what data settings were chosen",
        Source.STATED if tuning else Source.NOT_SHOWN,
    )


def _surroundings(subject: Subject) -> Iterator[Field]:
    yield Field("outbound fields", _outbound(), Source.SOFTWARE)
    rows = [
        row for row in subject.attached.attack_rows(subject.study.privacy.noise) if row.role == _PROTECTED
    ]
    audits = [row for row in rows if row.attack.startswith(_ONE_RUN)]
    yield _found("audit, with its ceiling", "one-run audit", audits)
    yield _found("attacks", "attack", [row for row in rows if row not in audits])
    utility = subject.attached.utility
    yield Field(
        "utility",
        "not shown: no evaluation was attached"
        if utility is None
        else f"accuracy {100 * utility.content.accuracy:.1f} %, macro F1 {utility.content.macro_f1:.3f}, "
        f"calibration error {utility.content.calibration_error:.3f} on {utility.content.images} images",
        Source.NOT_SHOWN if utility is None else Source.ATTACHED,
    )
    versions = subject.bundle.contents.versions
    yield Field(
        "versions",
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or None,
        Source.SIGNED,
    )
    card = subject.run.card
    yield Field(
        "hashes",
        None if card is None else f"model {card.model_digest[:16]}..., all in full under Evidence",
        Source.RECOMPUTED,
    )


def _found(name: str, what: str, rows: Sequence[AttackRow]) -> Field:
    if not rows:
        return Field(name, f"not shown: no {what} was attached", Source.NOT_SHOWN)
    return Field(
        name,
        "; ".join(f"{row.attack}, {row.subject}: {row.observed}; {row.conclusion}" for row in rows),
        Source.ATTACHED,
    )


def _release(subject: Subject) -> str | None:
    complete = subject.facts.complete
    if not complete or subject.run.card is None:
        return None
    averaged = "an average over rounds" if subject.study.training.averaging else "the last one"
    each = f"{counted(complete, 'model')}, one after each complete round, to all hospitals"
    return f"{each}; {averaged} to the world"


def _trust_model(subject: Subject) -> str:
    match subject.study.privacy.noise:
        case "local":
            return (
                "each hospital adds all of the noise to each of its own steps: the claim holds against "
                "everybody, the coordinator and all other hospitals together included"
            )
        case "distributed":
            colluders = subject.study.secure_aggregation.colluders
            return (
                "hospitals share the noise of a sum that is opened only as a whole: the claim holds against "
                f"the world and a coordinator in league with at most {counted(colluders, 'hospital')}"
            )
        case _:
            return "no noise: nothing is promised to anybody who sees a sum or the model"


def _curve(subject: Subject) -> str:
    curve = subject.facts.curve
    shown = [0, len(curve.epsilons) // 3, 2 * len(curve.epsilons) // 3, len(curve.epsilons) - 1]
    return "; ".join(
        f"delta {curve.deltas[place]:.2g} at epsilon {curve.epsilons[place]:.3g}" for place in shown
    )


def _batches(subject: Subject) -> str:
    probability = subject.study.training.sampling_probability
    each = ", ".join(f"{name} {units * probability:g}" for name, units in subject.study.hospitals.items())
    return f"{subject.study.units * probability:g} {subject.study.privacy.unit}s in all: {each}"


def _precision(subject: Subject) -> str:
    privacy, bits = subject.study.privacy, subject.study.secure_aggregation.bits
    if privacy.noise == "distributed":
        return (
            f"gradients rounded to integers of {privacy.levels_per_clip_norm} levels a clip norm, discrete "
            f"Gaussian noise, sums exact in {bits} bits a value"
        )
    return (
        "clipped sums and noise in float64, each noise value of four draws; the update leaves in a "
        f"fixed-point code of {bits} bits"
    )


def _outbound() -> str:
    return "; ".join(f"{kind.__name__} ({', '.join(kind.__struct_fields__)})" for kind in _REPLIES)
