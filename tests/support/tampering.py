"""What can be done to the record of a run of two rounds, and which record of it a verdict must name.

A change takes the lines of the record, or the one that a round ended with; each has its place beside it.
"""

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpriv.coordinator.run_folder import RoundEnded, RoundStarted, parse_lines

replace = msgspec.structs.replace


def with_lines(raw, change):
    """The record ``raw``, its lines replaced by what ``change`` makes of them."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in change(parse_lines(raw, "the record")))


def with_round(raw, number, change):
    """The record ``raw``, the end of round ``number`` replaced by what ``change`` makes of it."""
    return with_lines(
        raw,
        lambda lines: [
            change(line) if isinstance(line, RoundEnded) and line.round == number else line for line in lines
        ],
    )


def in_record(**changes):
    """A change of the record of a round; each value is a function of the old one."""

    def change(line):
        record = line.record
        new = {name: make(getattr(record, name)) for name, make in changes.items()}
        return replace(line, record=replace(record, **new))

    return change


def first_with(**fields):
    """The first entry with these fields, each a function of the old value."""

    def change(entries):
        first = entries[0]
        return (
            replace(first, **{name: make(getattr(first, name)) for name, make in fields.items()}),
            *entries[1:],
        )

    return change


def flipped(data):
    return bytes([data[0] ^ 1]) + data[1:]


SIGNED = {
    "an advertisement's key": ("advertisements", "channel_key", "advertisement of A"),
    "an advertisement's journal head": ("advertisements", "journal_head", "advertisement of A"),
    "an advertisement's signature": ("advertisements", "signature", "advertisement of A"),
    "a commitment": ("commitments", "self_mask_digest", "commitment of A"),
    "an update's vector": ("updates", "vector_digest", "masked update of A"),
    "an update's context": ("updates", "context", "masked update of A"),
    "an agreement": ("agreements", "survivors_digest", "agreement of A"),
    "an agreement's signature": ("agreements", "signature", "agreement of A"),
}


def without_first(entries):
    return entries[1:]


def signed_by_another(entries):
    return (entries[0].sealed_by(Ed25519PrivateKey.generate()), *entries[1:])


def receipt_of_another(change):
    def changed(receipt):
        return change(receipt).sealed_by(Ed25519PrivateKey.generate())

    return changed


TAMPERED = {
    "a hospital left out": (in_record(advertisements=without_first), "round 1"),
    "a commitment left out": (in_record(commitments=without_first), "round 1"),
    "an update left out": (in_record(updates=without_first), "round 1"),
    "too few agreements": (in_record(agreements=lambda all_: all_[:1]), "round 1"),
    "nobody answered": (in_record(answered=lambda all_: ()), "round 1"),
    "an entry twice": (in_record(agreements=lambda all_: (all_[0], *all_)), "round 1"),
    "another key": (in_record(updates=signed_by_another), "round 1, masked update of A"),
    "another round's number": (in_record(round=lambda number: number + 1), "round 1"),
    "another study": (in_record(study_digest=flipped), "round 1"),
    "another roster": (in_record(roster_digest=flipped), "round 1"),
    "another run": (in_record(run=flipped), "round 1"),
    "another context": (in_record(context=flipped), "round 1"),
    "another model shown": (in_record(model_digest=flipped), "round 1, advertisement of A"),
    "no receipt": (in_record(receipt=lambda receipt: None), "round 1, receipt"),
    "a forged receipt": (
        in_record(receipt=receipt_of_another(lambda receipt: replace(receipt, survivors=("A", "B")))),
        "round 1, receipt",
    ),
    "a smaller cohort": (lambda line: replace(line, cohort=("A", "B")), "round 1"),
    "nobody asked to train": (lambda line: replace(line, asked_to_train=()), "round 1"),
    "another asked to train": (lambda line: replace(line, asked_to_train=("A", "B", "D")), "round 1"),
    "asked twice": (lambda line: replace(line, asked_to_train=("A", "A", "B", "C")), "round 1"),
    "called failed": (lambda line: replace(line, outcome="failed", cohort=()), "round 1"),
    "another model made": (lambda line: replace(line, model_after="00" * 32), "round 1, receipt"),
    "another model before": (lambda line: replace(line, model_before="00" * 32), "round 1"),
}


def acknowledged(line, **changes):
    """The line of a round's acknowledgements, the first of them changed."""
    first, *rest = line.acknowledgements
    return replace(line, acknowledgements=(replace(first, **changes), *rest))


REORDERED = {
    "a round dropped": (lambda lines: lines[3:], "model card"),
    "the last round dropped": (lambda lines: lines[:3], "model card"),
    "a start dropped": (lambda lines: lines[1:], "round 1"),
    "an end dropped": (lambda lines: [lines[0], *lines[2:]], "model card"),
    "rounds swapped": (lambda lines: lines[3:] + lines[:3], "round 1"),
    "a round repeated": (lambda lines: lines + lines[3:], "round 2"),
    "an end repeated": (lambda lines: [*lines, lines[4]], "round 2"),
    "acknowledgements repeated": (lambda lines: [*lines, lines[5]], "round 2"),
    "acknowledgements without their round": (lambda lines: [*lines[:3], lines[5]], "round 2"),
    "acknowledgements of another round": (
        lambda lines: [*lines[:2], replace(lines[5], round=1), *lines[3:]],
        "round 1, acknowledgement of A",
    ),
    "another receipt acknowledged": (
        lambda lines: [*lines[:2], acknowledged(lines[2], receipt_digest=bytes(32)), *lines[3:]],
        "round 1, acknowledgement of A",
    ),
    "an acknowledgement of nobody": (
        lambda lines: [*lines[:2], acknowledged(lines[2], name="Z"), *lines[3:]],
        "round 1, acknowledgement of Z",
    ),
    "everything dropped": (lambda lines: [], "journal of A, row 5"),
    "more rounds than planned": (
        lambda lines: lines + [RoundStarted(number) for number in range(3, 9)],
        "run",
    ),
}
