"""What an export shows of a journal, and what it keeps."""

import json

import msgspec
import pytest

from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.errors import HomeError, JournalCorrupt
from fedpriv.identity.keys import new_identity
from fedpriv.node.chain import genesis, seal, verify_chain
from fedpriv.node.events import Approve, Close, Refuse, Release, Reserve, Sign
from fedpriv.node.export import ClosedRow, export_journal, open_export, parse_export

ME = new_identity("A")
RUN, OTHER = b"r" * 16, b"o" * 16
STUDY, SECRET = b"S" * 32, b"T" * 32
CHARGE = PrivacyEvent(2.0, 1.0, 1)


def events_of(run, study, name):
    return [
        Approve(name, study),
        Sign(run, 1, 0, b"a" * 32),
        Reserve(run, 1, study, f"images-of-{name}", "image", CHARGE, b"i" * 32),
        Release(run, 1, b"v" * 32),
        Refuse(run, 1, 3, 7, f"the image {name}.png is broken"),
        Close(run, 1, b"receipt"),
    ]


EVENTS = [
    event
    for pair in zip(events_of(RUN, STUDY, "open"), events_of(OTHER, SECRET, "hidden"), strict=True)
    for event in pair
]


@pytest.fixture(scope="module")
def stored():
    rows, head = [], genesis(ME.signing_public_key)
    for sequence, event in enumerate(EVENTS, start=1):
        written, row = seal(ME.signing_key, head, sequence, 1_700_000_000, event)
        rows.append(written)
        head = row.digest
    return rows


def opened(content, key=ME.signing_public_key):
    return open_export(parse_export(content, "it"), key)


def test_the_runs_own_rows_are_open_and_refusals_and_all_others_closed(stored):
    found = opened(export_journal(stored, ME, RUN))
    assert [row.event for row in found.rows] == [
        event for event in events_of(RUN, STUDY, "open") if not isinstance(event, Refuse)
    ]
    assert found.closed == 7
    assert (found.hospital, found.run) == ("A", RUN)


def test_every_head_of_the_journal_is_on_the_chain_and_rows_keep_their_places(stored):
    rows = verify_chain(stored, ME.signing_public_key)
    found = opened(export_journal(stored, ME, RUN))
    assert found.heads == tuple(row.digest for row in rows)
    assert [row.sequence for row in found.rows] == [1, 3, 5, 7, 11]


def test_nothing_of_a_closed_row_is_in_the_bytes(stored):
    content = export_journal(stored, ME, RUN)
    for word in (b"hidden", b"broken", b"refuse"):
        assert word not in content
    closed = [row for row in stored if b"hidden" in row.event or b"broken" in row.event]
    for row in closed:
        for secret in (row.event, row.salt):
            assert msgspec.json.encode(secret)[1:-1] not in content


def test_equal_events_have_unlike_digests(stored):
    """Otherwise whoever guesses an event finds it: the salt is what closes a row."""
    twice = export_journal(stored, ME, b"n" * 16)
    digests = [row.content for row in parse_export(twice, "it").rows]
    written, _ = seal(ME.signing_key, bytes(32), 1, 1_700_000_000, EVENTS[0])
    again = parse_export(export_journal([written], ME, b"n" * 16), "it").rows[0].content
    assert again not in digests


def test_a_run_that_charged_nothing_opens_what_was_signed_in_it(stored):
    signed = [row for row in stored if b'"sign"' in row.event]
    rows, head = [], genesis(ME.signing_public_key)
    for sequence, row in enumerate(signed, start=1):
        event = msgspec.json.decode(row.event, type=Sign)
        written, made = seal(ME.signing_key, head, sequence, 0, event)
        rows.append(written)
        head = made.digest
    found = opened(export_journal(rows, ME, RUN))
    assert [row.event.run for row in found.rows] == [RUN]


def test_what_is_open_has_a_closed_schema(stored):
    """Whoever adds a field to these events, or opens another kind, decides what leaves every hospital.

    A number of images, or a digest of them without a secret, must never stand here: one image could be
    confirmed by it. The register's digest has a key behind it that stays at the hospital.
    """
    content = json.loads(export_journal(stored, ME, RUN))
    assert set(content) == {"hospital", "run", "rows", "signature"}
    shown = {
        row["event"]["kind"]: set(row["event"]) - {"kind"} for row in content["rows"] if row["row"] == "open"
    }
    assert shown == {
        "approve": {"study_name", "study_digest"},
        "reserve": {"run", "round", "study_digest", "dataset", "unit", "charge", "register"},
        "release": {"run", "round", "vector_digest"},
        "sign": {"run", "round", "stage", "answer_digest"},
        "close": {"run", "round", "receipt"},
    }
    assert {frozenset(row) for row in content["rows"]} == {
        frozenset({"row", "unix_time_s", "salt", "event"}),
        frozenset({"row", "content"}),
    }


def test_the_same_journal_gives_the_same_bytes(stored):
    assert export_journal(stored, ME, RUN) == export_journal(stored, ME, RUN)


def test_another_key_is_named(stored):
    with pytest.raises(JournalCorrupt, match="its export is not signed by A"):
        opened(export_journal(stored, ME, RUN), new_identity("B").signing_public_key)


def test_a_closed_row_in_place_of_an_open_one_breaks_the_signature(stored):
    export = parse_export(export_journal(stored, ME, RUN), "it")
    changed = msgspec.structs.replace(export, rows=(ClosedRow(bytes(32)), *export.rows[1:]))
    with pytest.raises(JournalCorrupt, match="was changed"):
        open_export(changed, ME.signing_public_key)


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_export_is_one_line(content):
    with pytest.raises(HomeError, match=r"f\.json: no export") as refusal:
        parse_export(content, "f.json")
    assert "\n" not in refusal.value.message


def test_another_spelling_is_refused(stored):
    with pytest.raises(HomeError, match="one spelling"):
        parse_export(export_journal(stored, ME, RUN) + b"\n", "f.json")
