"""Pinning: which roster a hospital takes, what its journal remembers, and what new keys do to its budget."""

import datetime as dt
import shutil
from dataclasses import replace

import pytest
from support.rosters import NOW, pin_here, sealed
from support.studies import FULL_BATCH, small_study

from fedpriv.errors import HomeError, IdentityError, JournalCorrupt
from fedpriv.identity import keys, tls
from fedpriv.identity.enrolment import (
    collect,
    load_request,
    make_identity,
    new_request,
    request_path,
    succeed,
)
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Operator, load_roster
from fedpriv.identity.rotation import NEXT_FOLDER, rotate
from fedpriv.node import pinning
from fedpriv.node.budget import charges_of
from fedpriv.node.chain import genesis, rekey, seal, verify_chain
from fedpriv.node.events import Pin, Rekey, Reserve
from fedpriv.node.export import export_journal, open_export, parse_export
from fedpriv.node.journal import HEAD_FILE, Journal, read_journal, stored_rows
from fedpriv.node.pinning import ROSTER_FILE, check_pinned, last_pin, pin

OPERATOR = new_identity("consortium")
OTHER = new_identity("B")
AUTHORITY = tls.new_authority("test").certificate_pem
RUN = b"r" * 16


@pytest.fixture
def first(tmp_path):
    """The home of A in ``tmp_path`` and the first roster, countersigned, not pinned."""
    operator = Operator("consortium", OPERATOR.signing_public_key, AUTHORITY)
    request = make_identity("A", tmp_path)
    draft = collect("test", operator, [request, new_request(OTHER)])
    return sealed(draft, OPERATOR, OTHER, keys.load(tmp_path / "identity"))


def of(home):
    return keys.load(home / "identity")


def followed(roster, home, *requests, lost=(), leaves=(), signers=()):
    """The roster after ``roster``, countersigned by all who are in ``home`` or are others."""
    draft = succeed(roster, roster.coordinator, requests, lost=lost, leaves=leaves)
    own = [of(home)] if not lost else []
    following = [keys.load(home / NEXT_FOLDER)] if (home / NEXT_FOLDER).exists() else []
    return sealed(draft, OPERATOR, OTHER, *own, *following, *signers)


def with_a_rotation(roster, home):
    rotate(home)
    return followed(roster, home, load_request(request_path("A", home)))


def spend(home, rounds):
    study = small_study(FULL_BATCH)
    with Journal(home, of(home)) as journal:
        before = len(charges_of(journal.rows, "smears"))
        for number in range(before + 1, before + rounds + 1):
            charge_in(home, journal, study, number)


def charge_in(home, journal, study, number):
    journal.append(Reserve(RUN, number, study.digest, "smears", "image", study.cost_of(1), bytes(32)))


def spent(home):
    return len(charges_of(read_journal(home, of(home).signing_public_key), "smears"))


def tree_of(home):
    return {
        path.relative_to(home): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def refused(home, roster, error, message, now=NOW):
    """``roster`` is not pinned, for this reason, and not a byte in the home is changed."""
    before = tree_of(home)
    with pytest.raises(error, match=message):
        pin(home, roster, now)
    assert tree_of(home) == before


def test_what_was_pinned_is_in_the_journal_and_the_file(first, tmp_path):
    pin_here(tmp_path, first)
    assert load_roster(tmp_path / ROSTER_FILE) == first
    rows = read_journal(tmp_path, of(tmp_path).signing_public_key)
    assert [row.event for row in rows] == [Pin("test", 1, first.digest)]
    check_pinned(first, rows, tmp_path / ROSTER_FILE)


def test_pinning_twice_is_one_pin(first, tmp_path):
    pin_here(tmp_path, first)
    pin_here(tmp_path, first)
    assert len(read_journal(tmp_path, of(tmp_path).signing_public_key)) == 1


def test_a_roster_that_is_not_in_force_is_not_pinned(first, tmp_path):
    refused(tmp_path, replace(first, countersignatures=()), IdentityError, "is not countersigned by A, B")


def test_an_authority_that_has_expired_is_not_pinned(first, tmp_path):
    later = NOW + tls.AUTHORITY_VALIDITY + dt.timedelta(days=1)
    refused(tmp_path, first, IdentityError, r"certificate authority in the roster of test expired on", later)
    sooner = NOW - dt.timedelta(days=3)
    refused(tmp_path, first, IdentityError, "is not valid before", sooner)


def test_an_older_roster_without_our_new_keys_is_refused(first, tmp_path):
    pin_here(tmp_path, first)
    second = with_a_rotation(first, tmp_path)
    pin_here(tmp_path, second)
    refused(tmp_path, first, IdentityError, "the roster has another key for A")


def test_an_older_roster_with_our_keys_is_refused_by_its_number(first, tmp_path):
    pin_here(tmp_path, first)
    without = sealed(succeed(first, first.coordinator, [], leaves=["B"]), OPERATOR, of(tmp_path))
    pin_here(tmp_path, without)
    refused(tmp_path, first, IdentityError, "roster number 1 is older than number 2, which is pinned here")


def test_another_history_is_refused(first, tmp_path):
    """Two second rosters: the one that is not pinned here cannot be reached any more."""
    pin_here(tmp_path, first)
    one = sealed(succeed(first, first.coordinator, [], leaves=["B"]), OPERATOR, of(tmp_path))
    joiner = new_identity("C")
    other = sealed(
        succeed(first, first.coordinator, [new_request(joiner)]), OPERATOR, OTHER, of(tmp_path), joiner
    )
    pin_here(tmp_path, one)
    refused(tmp_path, other, IdentityError, "roster number 2 does not follow number 2, which is pinned here")
    after = sealed(succeed(other, other.coordinator, [], leaves=["B"]), OPERATOR, of(tmp_path), joiner)
    refused(tmp_path, after, IdentityError, "roster number 3 does not follow number 2")


def test_a_roster_may_be_skipped_if_the_history_goes_through_it(first, tmp_path):
    pin_here(tmp_path, first)
    joiner = new_identity("C")
    second = sealed(
        succeed(first, first.coordinator, [new_request(joiner)]), OPERATOR, OTHER, of(tmp_path), joiner
    )
    third = sealed(succeed(second, second.coordinator, [], leaves=["C"]), OPERATOR, OTHER, of(tmp_path))
    pin_here(tmp_path, third)
    assert last_pin(read_journal(tmp_path, of(tmp_path).signing_public_key)).number == 3


def test_a_file_that_was_exchanged_is_found(first, tmp_path):
    pin_here(tmp_path, first)
    second = with_a_rotation(first, tmp_path)
    pin_here(tmp_path, second)
    rows = read_journal(tmp_path, of(tmp_path).signing_public_key)
    path = tmp_path / ROSTER_FILE
    with pytest.raises(HomeError, match="was exchanged: it is number 1 of test, and not the one") as error:
        check_pinned(first, rows, path)
    assert "who changed the file" in error.value.hint
    with pytest.raises(HomeError, match="was never pinned here"):
        check_pinned(first, [], path)


def test_pinning_is_refused_while_the_node_runs(first, tmp_path):
    """A running node may be in a round: it holds the journal's lock."""
    pin_here(tmp_path, first)
    second = with_a_rotation(first, tmp_path)
    with Journal(tmp_path, of(tmp_path)):
        refused(tmp_path, second, HomeError, "another process is writing the journal")
    pin_here(tmp_path, second)


def test_a_second_federation_is_pinned_beside_the_first(first, tmp_path):
    """Its numbers are its own; the journal, and with it the budget, is the same."""
    pin_here(tmp_path, first)
    pin_here(tmp_path, sealed(succeed(first, first.coordinator, [], leaves=["B"]), OPERATOR, of(tmp_path)))
    spend(tmp_path, 2)
    elsewhere = sealed(
        collect("other", first.coordinator, [load_request(request_path("A", tmp_path)), new_request(OTHER)]),
        OPERATOR,
        OTHER,
        of(tmp_path),
    )
    pin_here(tmp_path, elsewhere)
    assert spent(tmp_path) == 2


# New keys.


def test_a_new_key_goes_on_with_the_journal_and_what_was_spent(first, tmp_path):
    pin_here(tmp_path, first)
    spend(tmp_path, 2)
    old = of(tmp_path)
    pin_here(tmp_path, with_a_rotation(first, tmp_path))
    new = of(tmp_path)
    assert new.signing_public_key != old.signing_public_key
    assert not (tmp_path / NEXT_FOLDER).exists()
    spend(tmp_path, 1)
    assert spent(tmp_path) == 3
    rows = read_journal(tmp_path, new.signing_public_key)
    (change,) = [row.event for row in rows if isinstance(row.event, Rekey)]
    assert (change.old_key, change.new_key) == (old.signing_public_key, new.signing_public_key)
    assert len(change.consent) == 64
    with pytest.raises(JournalCorrupt):  # the old key alone is no key of this journal any more
        read_journal(tmp_path, old.signing_public_key)


def test_heads_from_before_the_new_key_are_known_after_it(first, tmp_path):
    """The coordinator names the head that it was told last: a journal that goes on has it."""
    pin_here(tmp_path, first)
    with Journal(tmp_path, of(tmp_path)) as journal:
        before = journal.head
    pin_here(tmp_path, with_a_rotation(first, tmp_path))
    with Journal(tmp_path, of(tmp_path)) as journal:
        assert journal.had(before)
        assert journal.had(journal.head)
        assert not journal.had(bytes(32))


def test_keys_can_be_exchanged_again_and_again(first, tmp_path):
    roster = first
    pin_here(tmp_path, roster)
    for _ in range(3):
        spend(tmp_path, 1)
        roster = with_a_rotation(roster, tmp_path)
        pin_here(tmp_path, roster)
    assert spent(tmp_path) == 3


def test_a_lost_key_is_no_new_budget(first, tmp_path):
    pin_here(tmp_path, first)
    spend(tmp_path, 2)
    shutil.rmtree(tmp_path / "identity")
    request = rotate(tmp_path, lost="A")
    lost = followed(first, tmp_path, request, lost=["A"])
    pin_here(tmp_path, lost)
    assert spent(tmp_path) == 2
    (change,) = [
        row.event
        for row in read_journal(tmp_path, of(tmp_path).signing_public_key)
        if isinstance(row.event, Rekey)
    ]
    assert change.consent == b""


def test_a_lost_key_of_a_name_that_another_had_before(tmp_path):
    """The journal is found to be ours by its signatures, not by the first key that the name ever had."""
    namesake = new_identity("A")
    operator = Operator("consortium", OPERATOR.signing_public_key, AUTHORITY)
    draft = collect("test", operator, [new_request(namesake), new_request(OTHER)])
    first = sealed(draft, OPERATOR, OTHER, namesake)
    without = sealed(succeed(first, operator, [], leaves=["A"]), OPERATOR, OTHER)
    request = make_identity("A", tmp_path)
    joined = sealed(succeed(without, operator, [request]), OPERATOR, OTHER, of(tmp_path))
    pin_here(tmp_path, joined)
    spend(tmp_path, 1)
    shutil.rmtree(tmp_path / "identity")
    pin_here(tmp_path, followed(joined, tmp_path, rotate(tmp_path, lost="A"), lost=["A"]))
    assert spent(tmp_path) == 1


def test_a_lost_key_and_a_damaged_journal_are_not_taken_over(first, tmp_path):
    pin_here(tmp_path, first)
    spend(tmp_path, 1)
    shutil.rmtree(tmp_path / "identity")
    lost = followed(first, tmp_path, rotate(tmp_path, lost="A"), lost=["A"])
    (tmp_path / HEAD_FILE).write_text(f"9 {'00' * 32}\n")
    refused(tmp_path, lost, JournalCorrupt, "journal row 3 is missing")


def test_a_lost_home_begins_a_journal_that_never_had_the_known_head(first, tmp_path):
    """So the first round that an honest coordinator invites it to is refused as `JOURNAL_LOST`."""
    pin_here(tmp_path, first)
    spend(tmp_path, 1)
    with Journal(tmp_path, of(tmp_path)) as journal:
        told = journal.head
    new_home = tmp_path / "again"
    request = rotate(new_home_in(new_home), lost="A")
    pin_here(new_home, followed(first, new_home, request, lost=["A"]))
    with Journal(new_home, of(new_home)) as journal:
        assert not journal.had(told)


def new_home_in(folder):
    folder.mkdir()
    return folder


@pytest.mark.parametrize("after", ["change_key", "append", "replace_file", "adopt_next"])
def test_a_crash_at_any_step_can_be_repeated(first, tmp_path, monkeypatch, after):
    pin_here(tmp_path, first)
    spend(tmp_path, 1)
    second = with_a_rotation(first, tmp_path)
    where, name = {
        "change_key": (pinning, "Journal"),
        "append": (pinning, "replace_file"),
        "replace_file": (pinning, "adopt_next"),
        "adopt_next": (keys, "no such step"),
    }[after]

    def power_cut(*_arguments, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, name, power_cut, raising=False)
        if after == "adopt_next":
            pin(tmp_path, second, NOW)
        else:
            with pytest.raises(KeyboardInterrupt):
                pin(tmp_path, second, NOW)
    pin(tmp_path, second, NOW)
    assert spent(tmp_path) == 1
    events = [row.event for row in read_journal(tmp_path, of(tmp_path).signing_public_key)]
    assert sum(isinstance(event, Rekey) for event in events) == 1
    assert last_pin([]) is None
    assert events.count(Pin("test", 2, second.digest)) == 1
    assert not (tmp_path / NEXT_FOLDER).exists()


def test_a_damaged_journal_is_not_taken_over(first, tmp_path):
    pin_here(tmp_path, first)
    spend(tmp_path, 1)
    second = with_a_rotation(first, tmp_path)
    (tmp_path / HEAD_FILE).write_text(f"9 {'00' * 32}\n")
    refused(tmp_path, second, JournalCorrupt, "journal row 3 is missing")


def test_a_change_that_the_old_key_did_not_sign_is_found(first, tmp_path):
    """Somebody with the new key alone cannot pass a loss off as a rotation."""
    old, new, thief = new_identity("A"), new_identity("A"), new_identity("A")
    head = genesis(old.signing_public_key)
    stored, row = seal(old.signing_key, head, 1, 0, Pin("test", 1, bytes(32)))
    honest = rekey(row.digest, new.signing_public_key, old.signing_public_key, old.signing_key)
    forged = rekey(row.digest, new.signing_public_key, old.signing_public_key, thief.signing_key)
    other = rekey(row.digest, new.signing_public_key, thief.signing_public_key, thief.signing_key)
    for event, message in [
        (honest, None),
        (forged, "journal row 2: the old key did not agree to the new one"),
        (other, "journal row 1 was changed|changes another key than the one in use"),
    ]:
        change, _ = seal(new.signing_key, row.digest, 2, 0, event)
        if message is None:
            assert len(verify_chain([stored, change], new.signing_public_key)) == 2
            continue
        with pytest.raises(JournalCorrupt, match=message):
            verify_chain([stored, change], new.signing_public_key)
    by_the_old_key, _ = seal(old.signing_key, row.digest, 2, 0, honest)
    with pytest.raises(JournalCorrupt, match="journal row 2 was changed"):
        verify_chain([stored, by_the_old_key], new.signing_public_key)


def test_an_export_spans_the_change_and_is_signed_by_the_newest_key(first, tmp_path):
    pin_here(tmp_path, first)
    spend(tmp_path, 1)
    old = of(tmp_path)
    second = with_a_rotation(first, tmp_path)
    pin_here(tmp_path, second)
    new = of(tmp_path)
    rows = list(stored_rows(tmp_path))
    known = second.signing_keys_of("A")
    opened = open_export(parse_export(export_journal(rows, new, RUN), "it"), *known)
    verified = read_journal(tmp_path, new.signing_public_key)
    assert opened.heads == tuple(row.digest for row in verified)
    assert opened.closed == 0
    before = open_export(parse_export(export_journal(rows[:2], old, RUN), "it"), *known)
    assert before.heads == opened.heads[:2]
    with pytest.raises(JournalCorrupt, match="signed by a key of A that it does not end in"):
        open_export(parse_export(export_journal(rows, old, RUN), "it"), *known)
    with pytest.raises(JournalCorrupt, match="is not signed by A"):
        open_export(parse_export(export_journal(rows, new_identity("A"), RUN), "it"), *known)
