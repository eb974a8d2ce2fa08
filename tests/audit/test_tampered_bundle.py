"""A bundle that was tampered with, by its strongest enemy: the coordinator, who signs it again.

Every change is made to an honest bundle of two rounds, whose contents the coordinator then signs anew; where
a hospital is in league, it signs its export again as well. The verdict must name what was changed.
"""

import io

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tampering import (
    REORDERED,
    SIGNED,
    TAMPERED,
    first_with,
    flipped,
    in_record,
    with_lines,
    with_round,
)

from fedpriv.coordinator.archive import pack
from fedpriv.coordinator.bundle import CARD, CONTENTS, ROSTER, ROUNDS, STUDY, VECTOR
from fedpriv.errors import BundleError, IdentityError
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Member, Operator, Roster, dump_roster, parse_roster
from fedpriv.identity.signing import sign
from fedpriv.model.folder import Card
from fedpriv.node.chain import content_digest, genesis, seal
from fedpriv.node.events import Approve, Release, Reserve
from fedpriv.node.export import ClosedRow, JournalExport, OpenRow, export_for, export_journal
from fedpriv.node.journal import stored_rows
from fedpriv.secagg.terms import model_digest
from fedpriv.study import dump_study

replace = msgspec.structs.replace
A, B, C = (f"journals/{name}.json" for name in "ABC")


def test_control_a_bundle_that_is_signed_again_and_not_changed_verifies(packed):
    assert packed.sealed({}) == packed.bytes
    assert packed.failed({}) == {}


# The coordinator's record.


@pytest.mark.parametrize("what", SIGNED)
def test_one_bit_of_a_signed_message_is_named(packed, what):
    messages, part, place = SIGNED[what]
    change = in_record(**{messages: first_with(**{part: flipped})})
    assert f"round 1, {place}" in packed.failed({ROUNDS: with_round(packed.entries[ROUNDS], 1, change)})


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_round_is_named(packed, what):
    change, place = TAMPERED[what]
    assert place in packed.failed({ROUNDS: with_round(packed.entries[ROUNDS], 1, change)})


@pytest.mark.parametrize("what", REORDERED)
def test_rounds_that_are_dropped_moved_or_repeated_are_named(packed, what):
    change, place = REORDERED[what]
    assert place in packed.failed({ROUNDS: with_lines(packed.entries[ROUNDS], change)})


def test_a_receipt_that_the_coordinator_signs_anew_contradicts_what_hospitals_hold(packed):
    key = packed.federation.operator.signing_key

    def republished(receipt):
        return replace(receipt, published_digest=bytes(32)).sealed_by(key)

    change = in_record(receipt=republished)
    failed = packed.failed({ROUNDS: with_round(packed.entries[ROUNDS], 2, change)})
    assert failed["round 2, acknowledgement of A"] == "it is for another receipt"
    assert "it holds another receipt of round 2 than the record" in failed.values()
    assert "model card" in failed


def test_a_record_that_ends_in_the_middle_of_a_line_is_named(packed):
    assert "ends in the middle" in packed.failed({ROUNDS: packed.entries[ROUNDS] + b"{"})["run"]


def test_a_record_of_nonsense_is_named(packed):
    assert "rounds.jsonl, line 1" in packed.failed({ROUNDS: b"\xff\n"})["run"]


# The model and its card.


def carded(packed, **changes):
    card = msgspec.json.decode(packed.entries[CARD], type=Card)
    return msgspec.json.encode(replace(card, **changes))


CARDS = {
    "epsilon": (lambda claim: {"privacy": replace(claim, epsilon=0.5)}, "model card"),
    "no epsilon": (lambda claim: {"privacy": replace(claim, epsilon=None)}, "model card"),
    "delta": (lambda claim: {"privacy": replace(claim, delta=1e-9)}, "model card"),
    "unit": (lambda claim: {"privacy": replace(claim, unit="patient")}, "model card"),
    "noise": (lambda claim: {"privacy": replace(claim, noise="distributed")}, "model card"),
    "chance of 100 candidates": (
        lambda claim: {"privacy": replace(claim, candidate_success=0.01)},
        "model card",
    ),
    "no chance": (lambda claim: {"privacy": replace(claim, candidate_success=None)}, "model card"),
    "rounds": (lambda claim: {"rounds": 7}, "model card"),
    "name": (lambda claim: {"study": "another"}, "model card"),
    "classes": (lambda claim: {"classes": ("Early", "Benign", "Pre", "Pro")}, "model card"),
    "network": (lambda claim: {"network": "another"}, "model card"),
    "size of images": (lambda claim: {"image_size": 128}, "model card"),
    "study": (lambda claim: {"study_digest": "00" * 32}, "model card"),
    "digest": (lambda claim: {"model_digest": "00" * 32}, "model"),
    "parameters": (lambda claim: {"parameters": 49}, "model"),
    "negative parameters": (lambda claim: {"parameters": -1}, "model"),
}


@pytest.mark.parametrize("what", CARDS)
def test_an_edited_card_is_named(packed, what):
    change, place = CARDS[what]
    claim = msgspec.json.decode(packed.entries[CARD], type=Card).privacy
    assert place in packed.failed({CARD: carded(packed, **change(claim))})


def swapped(vector):

    stream = io.BytesIO()
    np.save(stream, vector)
    return stream.getvalue(), model_digest(vector.tobytes()).hex()


def test_another_model_is_named(packed):
    weights, _ = swapped(np.ones(50, "<f4"))
    assert "its digest is not the one" in packed.failed({VECTOR: weights})["model"]


def test_another_model_with_a_card_of_its_own_is_named(packed):
    weights, digest = swapped(np.ones(50, "<f4"))
    failed = packed.failed({VECTOR: weights, CARD: carded(packed, model_digest=digest)})
    assert "last receipt names as published" in failed["model card"]


@pytest.mark.parametrize("removed", [{CARD: None}, {VECTOR: None}, {CARD: None, VECTOR: None}])
def test_a_model_that_is_missing_is_named(packed, removed):
    assert "model" in packed.failed(removed)


HEADERS = [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (50,), }",
    b"(" * 60,
    b"",
]


@pytest.mark.parametrize("header", HEADERS)
def test_weights_with_a_hostile_header_are_named(packed, header):
    padded = header.ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + bytes(200)
    assert "model.npy" in packed.failed({VECTOR: content})["model"]


# The study and the roster.


def test_another_study_is_named(packed):
    study = packed.federation.study
    cheaper = replace(study, privacy=replace(study.privacy, epsilon=4.0))
    failed = packed.failed({STUDY: dump_study(cheaper).encode()})
    assert "its record is of another study" in failed["round 1"]


STUDIES = {
    "no TOML": b"[",
    "no noise multiplier": None,
    "not UTF-8": b"\xff",
    "deep": b"a = " + b"[" * 100_000,
}


@pytest.mark.parametrize("what", STUDIES)
def test_a_study_that_is_none_is_named(packed, what):
    content = STUDIES[what]
    if content is None:
        lines = packed.entries[STUDY].splitlines(keepends=True)
        content = b"".join(line for line in lines if not line.startswith(b"noise_multiplier"))
    assert "study" in packed.failed({STUDY: content})


def with_member(roster, name, key):
    others = [member for member in roster.hospitals if member.name != name]
    link = roster.member(name).link_key if name in roster.names else others[0].link_key
    return Roster(roster.federation, roster.coordinator, (*others, Member(name, key, link)))


def test_another_key_in_the_roster_is_named(packed):
    roster = with_member(packed.federation.roster, "A", new_identity("A").signing_public_key)
    failed = packed.failed({ROSTER: dump_roster(roster).encode()})
    assert "its record is of another roster" in failed["round 1"]
    assert "round 1, commitment of A" in failed
    assert "journal of A" in failed


def test_a_hospital_missing_in_the_roster_is_named(packed):
    roster = packed.federation.roster
    fewer = Roster(roster.federation, roster.coordinator, roster.hospitals[:2])
    assert packed.failed({ROSTER: dump_roster(fewer).encode()})["study"] == "not on the roster: C"


def test_another_coordinator_in_the_roster_is_named(packed):
    roster, other = packed.federation.roster, new_identity("consortium").signing_public_key
    operator = Operator("consortium", other, roster.coordinator.ca_certificate)
    failed = packed.failed({ROSTER: dump_roster(Roster("test", operator, roster.hospitals)).encode()})
    assert failed[CONTENTS] == "not signed by consortium, the coordinator"
    assert "round 1, receipt" in failed


# A hospital's journal.


def exported(packed, entry):
    return msgspec.json.decode(packed.entries[entry], type=JournalExport)


def resigned(packed, name, export):
    """``export`` under a new signature of hospital ``name`` itself."""
    key = packed.federation.members[name].home.identity().signing_key
    return msgspec.json.encode(replace(export, signature=sign(key, b"journal export", export.statement)))


def rewritten(packed, name, change):
    """The export of hospital ``name`` with each event of its journal through ``change``; None drops it."""
    home = packed.federation.members[name].home
    identity = home.identity()
    stored = []

    head = genesis(identity.signing_public_key)
    for old in home.rows():
        event = change(old.event)
        if event is not None:
            written, row = seal(identity.signing_key, head, len(stored) + 1, old.unix_time_s, event)
            stored.append(written)
            head = row.digest
    return export_journal(stored, identity, packed.run)


ROWS = {
    "a row dropped": lambda rows: (*rows[:4], *rows[5:]),
    "the first row dropped": lambda rows: rows[1:],
    "two rows swapped": lambda rows: (rows[1], rows[0], *rows[2:]),
    "a row repeated": lambda rows: (rows[0], *rows),
    "a row closed over something else": lambda rows: (ClosedRow(bytes(32)), *rows[1:]),
    "another time": lambda rows: (replace(rows[0], unix_time_s=1), *rows[1:]),
    "another salt": lambda rows: (replace(rows[0], salt=bytes(16)), *rows[1:]),
    "every row dropped": lambda rows: (),
}


@pytest.mark.parametrize("what", ROWS)
def test_rows_that_the_hospital_itself_signs_again_are_found(packed, what):
    export = exported(packed, A)
    failed = packed.failed({A: resigned(packed, "A", replace(export, rows=ROWS[what](export.rows)))})
    assert any(place.startswith("journal of A, row") for place in failed)
    assert any("rows were lost, or an old copy was restored" in reason for reason in failed.values())


@pytest.mark.parametrize("rows", [1, 8, -1])
def test_an_older_journal_is_found(packed, rows):
    export = exported(packed, A)
    failed = packed.failed({A: resigned(packed, "A", replace(export, rows=export.rows[:rows]))})
    assert any(place.startswith("journal of A") for place in failed)


def test_an_export_that_another_signed_is_named(packed):
    export = replace(exported(packed, A), hospital="A")
    assert "is not signed by A" in packed.failed({A: resigned(packed, "B", export)})["journal of A"]


@pytest.mark.parametrize("what", ["rows", "run", "hospital", "signature"])
def test_an_export_that_was_changed_is_named(packed, what):
    export = exported(packed, A)
    new = {"rows": export.rows[:-1], "run": bytes(16), "hospital": "B", "signature": bytes(64)}
    content = msgspec.json.encode(replace(export, **{what: new[what]}))
    assert "signed by" in packed.failed({A: content})["journal of A"]


def test_the_journal_of_another_hospital_is_named(packed):
    assert "is not signed by B" in packed.failed({A: packed.entries[B]})["journal of A"]


def test_the_journal_of_a_stranger_is_named(packed):
    failed = packed.failed({"journals/Z.json": packed.entries[A]})
    assert "has no hospital Z" in failed["journal of Z"]


def test_an_export_for_another_run_is_named(packed):
    home = packed.federation.members["A"].home
    failed = packed.failed({A: export_for(home, bytes(range(16)))})
    assert failed["journal of A"] != ""
    assert any("exported for another run" in reason for reason in failed.values())


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_an_export_that_is_none_is_named(packed, content):
    assert "no export of a journal" in packed.failed({A: content})["journal of A"]


def test_an_export_in_another_spelling_is_named(packed):
    assert "was edited" in packed.failed({A: packed.entries[A] + b" "})["journal of A"]


def less(event):
    if isinstance(event, Reserve):
        return replace(event, charge=replace(event.charge, noise_multiplier=9.0))
    return event


def free(event):
    return None if isinstance(event, Reserve) else event


def denied(event):
    return None if isinstance(event, Release) else event


def never_approved(event):
    return None if isinstance(event, Approve) else event


def elsewhere(event):
    return replace(event, dataset="other") if isinstance(event, Reserve) and event.round == 2 else event


REWRITTEN = {
    "charged less": (less, "it is no charge of what a round of the study costs"),
    "charged nothing": (free, "a vector left without a charge"),
    "released nothing": (denied, "it has no row for the vector that A signed in round 1"),
    "approved nothing": (never_approved, "charge 1 of the study, and 0 rounds of it were approved before"),
    "charged to other images": (elsewhere, "one run was charged to several datasets"),
}


@pytest.mark.parametrize("what", REWRITTEN)
def test_a_journal_that_the_hospital_wrote_anew_is_found(packed, what):
    change, reason = REWRITTEN[what]
    failures = packed.verdict(packed.sealed({A: rewritten(packed, "A", change)})).failures
    assert reason in {failure.reason for failure in failures}
    assert any("rows were lost" in failure.reason for failure in failures)


def test_closing_charges_hides_nothing(packed):
    """A hospital that shows only the digests of its charges is left with releases that nothing paid for."""
    export = exported(packed, A)
    stored = list(stored_rows(packed.federation.members["A"].home.folder))

    rows = tuple(
        ClosedRow(content_digest(row.salt, row.unix_time_s, row.event))
        if b'"reserve"' in row.event
        else shown
        for row, shown in zip(stored, export.rows, strict=True)
    )
    assert rows != export.rows
    assert any(isinstance(row, OpenRow) for row in rows)
    failures = packed.verdict(packed.sealed({A: resigned(packed, "A", replace(export, rows=rows))})).failures
    assert {failure.reason for failure in failures} == {"a vector left without a charge"}


# What somebody does who is not the coordinator.


@pytest.mark.parametrize("entry", [A, CARD, VECTOR, ROSTER, ROUNDS, STUDY])
def test_an_entry_that_the_coordinator_did_not_sign_is_named(packed, entry):
    """Each change is one that reading survives: a line or a space more, or another weight."""
    content = packed.entries[entry]
    if entry == VECTOR:
        content = content[:-1] + bytes([content[-1] ^ 1])
    else:
        content += b"\n"
    failures = packed.verdict(pack(packed.entries | {entry: content})).failures
    assert (entry, "not what the coordinator signed the contents for") in {
        (failure.record, failure.reason) for failure in failures
    }


def test_an_entry_that_is_taken_out_is_named(packed):
    fewer = {path: content for path, content in packed.entries.items() if path != C}
    failed = {failure.record: failure.reason for failure in packed.verdict(pack(fewer)).failures}
    assert failed[C] == "it is in the signed contents and not in the bundle"


def test_entries_in_another_order_are_named(packed):
    failures = packed.verdict(pack(dict(reversed(packed.entries.items())))).failures
    assert [failure.reason for failure in failures] == ["its entries are not in order"]


@pytest.mark.parametrize("entry", [CONTENTS, ROSTER, ROUNDS, STUDY])
def test_what_lacks_an_entry_is_no_bundle(packed, entry):
    with pytest.raises(BundleError, match=f"holds no {entry}"):
        packed.verdict(pack({path: content for path, content in packed.entries.items() if path != entry}))


@pytest.mark.parametrize("entry", ["setup.py", "journals/A.toml", "journals/A-.json-x", "model/other.npy"])
def test_what_holds_anything_else_is_no_bundle(packed, entry):
    with pytest.raises(BundleError, match="which no bundle has"):
        packed.verdict(pack({**packed.entries, entry: b""}))


CONTENT = {
    "no JSON": (lambda content: b"{", "contents.json"),
    "another spelling": (lambda content: content + b"\n", "one spelling"),
    "another version": (lambda content: content.replace(b"bundle 1", b"bundle 2"), "fedpriv bundle 2"),
    "an unknown key": (lambda content: content.replace(b'"run"', b'"ran"'), "contents.json"),
    "another run": (lambda content: content.replace(b'"run": "', b'"run": "z'), "contents.json"),
}


@pytest.mark.parametrize("what", CONTENT)
def test_contents_that_are_none_are_one_line(packed, what):
    change, words = CONTENT[what]
    with pytest.raises(BundleError, match=words) as refusal:
        packed.verdict(pack(packed.entries | {CONTENTS: change(packed.entries[CONTENTS])}))
    assert "\n" not in refusal.value.message


def test_contents_of_another_run_are_not_signed(packed):
    content = packed.entries[CONTENTS].replace(packed.run.hex().encode(), bytes(16).hex().encode())
    failures = packed.verdict(pack(packed.entries | {CONTENTS: content})).failures
    assert failures[0].record == CONTENTS
    assert {"round 1", "journal of A"} <= {failure.record for failure in failures}


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_one_changed_byte_anywhere_in_the_file_is_found(packed, data):
    content = bytearray(packed.bytes)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert refused_or_failed(packed, bytes(content))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_one_changed_byte_in_any_entry_is_found(packed, data):
    """With the archive made anew around it, so that only what is signed can tell."""
    entry = data.draw(st.sampled_from(sorted(packed.entries)))
    content = bytearray(packed.entries[entry])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert refused_or_failed(packed, pack(packed.entries | {entry: bytes(content)}))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_one_changed_byte_that_the_coordinator_signs_is_found_in_what_others_signed(packed, data):
    """Of the record only what hospitals signed: how long a stage took is the coordinator's own word."""
    entry = data.draw(st.sampled_from([A, B, C, ROSTER, VECTOR]))
    content = bytearray(packed.entries[entry])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = bytes(content)
    if entry == VECTOR and same_vector(changed, packed.entries[VECTOR]):
        return
    if entry == ROSTER and same_roster(changed, packed.entries[ROSTER]):
        return
    assert refused_or_failed(packed, packed.sealed({entry: changed}))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_changed_byte_in_record_study_or_card_is_a_crash(packed, data):
    entry = data.draw(st.sampled_from([ROUNDS, STUDY, CARD]))
    content = bytearray(packed.entries[entry])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    refused_or_failed(packed, packed.sealed({entry: bytes(content)}))


def refused_or_failed(packed, content):
    try:
        return bool(packed.verdict(content).failures)
    except (BundleError, IdentityError):
        return True


def same_vector(one, other):
    """Whether only the header's spaces differ."""
    return one[-200:] == other[-200:] and one[:10] == other[:10]


def same_roster(one, other):

    try:
        return parse_roster(one.decode(), "one").digest == parse_roster(other.decode(), "other").digest
    except (IdentityError, UnicodeDecodeError):
        return False
