"""Rosters that follow each other: what may change, what never comes back, and what people are told."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import IdentityError
from fedpriv.identity.enrolment import new_request, succeed
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Member, Roster, dump_roster, parse_roster
from fedpriv.identity.succession import changed_keys, changes
from fedpriv.identity.tls import new_authority

FRESH = {name: [new_identity(name) for _ in range(3)] for name in "ABCD"}


@pytest.fixture(scope="session")
def first(identities, operator):
    return Roster("demo", operator, tuple(Member.of(identities[name]) for name in "ABC"))


@pytest.fixture(scope="session")
def rotated(first):
    """B has new keys."""
    return succeed(first, first.coordinator, [new_request(FRESH["B"][0])])


def test_numbers_grow_by_one_and_each_names_its_predecessor(first, rotated):
    assert (first.number, rotated.number) == (1, 2)
    assert rotated.predecessor == first
    assert rotated.lineage == (first, rotated)
    third = succeed(rotated, first.coordinator, [], leaves=["C"])
    assert third.number == 3
    assert third.lineage == (first, rotated, third)


def test_the_digest_covers_the_whole_history(first, rotated):
    """The same members after another history are another roster."""
    longer = succeed(first, first.coordinator, [new_request(FRESH["D"][0])])
    again = replace(rotated, predecessor=longer)
    assert again.hospitals == rotated.hospitals
    alone = replace(rotated, predecessor=None)
    assert len({again.digest, rotated.digest, alone.digest}) == 3


def test_the_list_of_lost_keys_is_in_the_digest(first, rotated):
    assert replace(rotated, lost=("B",)).digest != rotated.digest


def test_a_history_is_written_and_read_again(first, rotated):
    third = succeed(rotated, first.coordinator, [new_request(FRESH["C"][0])], leaves=["A"], lost=["C"])
    assert parse_roster(dump_roster(third), "r.toml") == third


def test_a_history_that_was_cut_or_edited_is_found(first, rotated):
    text = dump_roster(succeed(rotated, first.coordinator, [], leaves=["C"]))
    start, one, two = text.split("[[past]]")
    past = "[[past]]"
    assert parse_roster(f"{start}{past}{one}{past}{two}", "r.toml").number == 3
    for kept in ([], [one], [two], [two, one], [one, one, two]):
        with pytest.raises(IdentityError, match=r"r\.toml: "):
            parse_roster(past.join([start, *kept]), "r.toml")
    with pytest.raises(IdentityError, match="number = 7, but 2 rosters lie before it"):
        parse_roster(text.replace("number = 3", "number = 7"), "r.toml")
    with pytest.raises(IdentityError, match="its predecessor is another"):
        parse_roster(text.replace('name = "A"', 'name = "Z"').replace("number = 3", "number = 3"), "r.toml")


def test_what_people_are_told(first, rotated):
    assert changes(first) == ()
    assert changes(rotated) == ("B has a new link key", "B has a new signing key")
    link_only = replace(FRESH["B"][1], signing_key=FRESH["B"][0].signing_key)
    third = succeed(
        rotated,
        replace(first.coordinator, ca_certificate=new_authority("demo").certificate_pem),
        [new_request(link_only), new_request(FRESH["C"][0]), new_request(FRESH["D"][0])],
        leaves=["A"],
        lost=["C"],
    )
    assert changes(third) == (
        "coordinator has a new certificate authority",
        "B has a new link key",
        "C has a new link key",
        "C has a new signing key, and LOST the old one",
        "D joins",
        "A leaves",
    )


def test_keys_of_the_past_are_found(first, rotated, identities):
    old, new = identities["B"].signing_public_key, FRESH["B"][0].signing_public_key
    assert changed_keys(rotated) == {"B": old}
    assert rotated.signing_keys_of("B") == (new, old)
    gone = succeed(rotated, first.coordinator, [], leaves=["B"])
    assert gone.signing_keys_of("B") == (new, old)
    with pytest.raises(IdentityError, match="has no hospital Z"):
        gone.signing_keys_of("Z")
    assert rotated.at(first.digest) == first
    assert rotated.at(bytes(32)) is None
    assert first.at(rotated.digest) is None
    assert rotated.retired_link_keys == (identities["B"].link_public_key,)
    assert first.retired_link_keys == ()


@pytest.mark.parametrize("part", ["signing_key", "link_key"])
def test_a_key_that_was_taken_out_never_comes_back(first, rotated, identities, part):
    """Not for its old owner, not for another, not after any number of rosters."""
    old = getattr(identities["B"], part)
    for name, (before, other) in itertools.product(
        "BCD", [(rotated, 1), (succeed(rotated, first.coordinator, [], leaves=["A"]), 2)]
    ):
        back = replace(FRESH[name][other], **{part: old})
        with pytest.raises(IdentityError, match=rf"key of {name} was in an earlier roster already"):
            succeed(before, first.coordinator, [new_request(back)])


def test_a_hospital_that_left_joins_again_with_new_keys_only(first, identities):
    gone = succeed(first, first.coordinator, [], leaves=["B"])
    with pytest.raises(IdentityError, match="was in an earlier roster already") as error:
        succeed(gone, first.coordinator, [new_request(identities["B"])])
    assert "fedpriv keys new" in error.value.hint
    again = succeed(gone, first.coordinator, [new_request(FRESH["B"][0])])
    assert changes(again) == ("B joins",)
    assert changed_keys(again) == {}


def test_a_hospital_does_not_move_to_another_name_with_its_keys(first, identities):
    with pytest.raises(IdentityError, match="key of Z was in an earlier roster already"):
        succeed(first, first.coordinator, [new_request(replace(identities["B"], name="Z"))], leaves=["B"])


def test_what_cannot_follow_is_refused(first, rotated):
    request = new_request(FRESH["B"][1])
    for change, message in [
        ({"requests": []}, "nothing is different from roster number 2"),
        ({"requests": [request], "lost": ["C"]}, "C is named among the lost keys, and has no other key"),
        ({"requests": [], "leaves": ["Z"]}, "has no hospital Z; it has A, B, C"),
        ({"requests": [request], "leaves": ["B"]}, "B cannot leave and ask in one step"),
        ({"requests": [request, request]}, "two requests are of one hospital"),
        ({"requests": [request], "lost": ["B", "B"]}, "not sorted, or one is there twice"),
        ({"requests": [], "leaves": ["A", "B", "C"]}, "the roster names no hospital"),
    ]:
        with pytest.raises(IdentityError, match=message):
            succeed(rotated, first.coordinator, **change)
    with pytest.raises(IdentityError, match="the roster of other follows one of demo"):
        replace(rotated, federation="other")
    with pytest.raises(IdentityError, match="B is named among the lost keys"):
        replace(first, lost=("B",))


STEPS = st.sampled_from(
    [
        "A rotates",
        "B rotates",
        "C rotates",
        "C leaves",
        "C joins",
        "A lost",
        "D joins",
        "D leaves",
        "authority",
    ]
)
AUTHORITIES = [new_authority("demo").certificate_pem for _ in range(3)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=6))
def test_in_any_history_numbers_grow_and_no_key_of_the_past_is_in_the_present(first, steps):
    roster, unused = first, {name: list(FRESH[name]) for name in FRESH}
    authorities = list(AUTHORITIES)
    for step in steps:
        before, (who, _, what) = roster, step.partition(" ")
        try:
            if step == "authority":
                operator = replace(roster.coordinator, ca_certificate=authorities.pop())
                roster = succeed(roster, operator, [])
            elif what == "leaves":
                roster = succeed(roster, roster.coordinator, [], leaves=[who])
            else:
                request = new_request(unused[who].pop())
                roster = succeed(roster, roster.coordinator, [request], lost=[who] if what == "lost" else [])
        except (IdentityError, IndexError):
            continue
        assert roster.number == before.number + 1
        assert roster.digest != before.digest
        assert changes(roster)
    seen = {}
    for one in roster.lineage:
        now = {key for member in one.hospitals for key in (member.signing_key, member.link_key)}
        for key, last in seen.items():
            assert key not in now or last == one.number - 1
        seen |= dict.fromkeys(now, one.number)
    assert parse_roster(dump_roster(roster), "r.toml").digest == roster.digest
