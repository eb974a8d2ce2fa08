"""Who must agree to a roster, and what is not taken for an agreement."""

import itertools
from dataclasses import replace

import pytest
from support.rosters import sealed

from fedpriv.errors import IdentityError
from fedpriv.identity.countersigning import (
    check_countersigned,
    countersign,
    dump_countersignatures,
    load_countersignatures,
    load_countersigned,
    missing,
    owed,
    with_countersignatures,
)
from fedpriv.identity.enrolment import collect, new_request, succeed
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Countersignature, Operator, dump_roster
from fedpriv.identity.tls import new_authority

OPERATOR = new_identity("coordinator")
NEXT = {name: new_identity(name) for name in ("B", "D", "coordinator")}


@pytest.fixture(scope="module")
def draft(identities):
    operator = Operator("coordinator", OPERATOR.signing_public_key, new_authority("demo").certificate_pem)
    return collect("demo", operator, [new_request(identities[name]) for name in "ABC"])


@pytest.fixture(scope="module")
def first(draft, identities):
    return sealed(draft, OPERATOR, *identities.values())


@pytest.fixture(scope="module")
def rotated(first):
    return succeed(first, first.coordinator, [new_request(NEXT["B"])])


def test_a_roster_is_in_force_with_the_word_of_everybody_in_it(draft, first):
    assert missing(draft) == ("A", "B", "C", "coordinator")
    assert missing(first) == ()
    check_countersigned(first)
    assert first.digest == draft.digest
    with pytest.raises(IdentityError, match="not countersigned by A, B, C, coordinator: it is not in force"):
        check_countersigned(draft)


def test_each_one_counts(draft, identities):
    everybody = [OPERATOR, *identities.values()]
    for absent in everybody:
        others = [one for one in everybody if one is not absent]
        assert missing(sealed(draft, *others)) == (absent.name,)
        with pytest.raises(IdentityError, match=f"not countersigned by {absent.name}"):
            check_countersigned(sealed(draft, *others))


def test_an_exchanged_key_needs_the_word_of_the_old_one_too(rotated, identities):
    assert len(owed(rotated)) == 5
    without_old = sealed(rotated, OPERATOR, identities["A"], NEXT["B"], identities["C"])
    assert missing(without_old) == ("B (by the old key)",)
    without_new = sealed(rotated, OPERATOR, identities["A"], identities["B"], identities["C"])
    assert missing(without_new) == ("B",)
    check_countersigned(sealed(without_old, identities["B"]))


def test_a_thief_of_the_coordinators_key_needs_the_hospitals(first, identities):
    operator = replace(first.coordinator, signing_key=NEXT["coordinator"].signing_public_key)
    stolen = succeed(first, operator, [])
    assert missing(sealed(stolen, NEXT["coordinator"], OPERATOR)) == ("A", "B", "C")
    check_countersigned(sealed(stolen, NEXT["coordinator"], OPERATOR, *identities.values()))


def test_a_lost_key_needs_everybody_else_and_is_named(first, identities):
    lost = succeed(first, first.coordinator, [new_request(NEXT["B"])], lost=["B"])
    assert len(owed(lost)) == 4
    check_countersigned(sealed(lost, OPERATOR, identities["A"], NEXT["B"], identities["C"]))
    assert missing(sealed(lost, OPERATOR, identities["A"], NEXT["B"])) == ("C",)
    with pytest.raises(IdentityError, match="it is B's, whose key in the roster is another"):
        countersign(lost, identities["B"])


def test_a_signature_for_a_rotation_is_none_for_a_loss(first, rotated, identities):
    """Nobody can let the old key's word fall under the table."""
    signatures = [countersign(rotated, one) for one in (OPERATOR, identities["A"], NEXT["B"])]
    as_lost = replace(rotated, lost=("B",))
    with pytest.raises(IdentityError, match=r"is not the one that \w+ countersigned"):
        with_countersignatures(as_lost, signatures)


def test_who_leaves_is_not_asked_and_who_joins_is(first, identities):
    after = succeed(first, first.coordinator, [new_request(NEXT["D"])], leaves=["C"])
    check_countersigned(sealed(after, OPERATOR, identities["A"], identities["B"], NEXT["D"]))
    with pytest.raises(IdentityError, match="countersignature of C, who is not in it"):
        countersign(after, identities["C"])
    assert missing(sealed(after, OPERATOR, identities["A"], identities["B"])) == ("D",)


def test_a_roster_is_in_force_only_after_one_that_was(draft, identities):
    after = succeed(draft, draft.coordinator, [], leaves=["C"])
    complete = sealed(after, OPERATOR, identities["A"], identities["B"])
    with pytest.raises(IdentityError, match="roster number 1 is not countersigned by A, B, C, coordinator"):
        check_countersigned(complete)


def test_the_wrong_persons_signature_is_not_taken(draft, identities):
    of_a = countersign(draft, identities["A"])
    for entry, message in [
        (replace(of_a, name="B"), "it is B's, whose key in the roster is another"),
        (replace(of_a, signing_key=identities["B"].signing_public_key), "it is A's, whose key"),
        (
            Countersignature("B", identities["B"].signing_public_key, of_a.signature),
            "not the one that B countersigned",
        ),
        (replace(of_a, signature=bytes(64)), "not the one that A countersigned"),
        (countersign(collect_other(draft, identities), identities["A"]), "not the one that A countersigned"),
        (replace(of_a, name="Z"), "countersignature of Z, who is not in it"),
    ]:
        with pytest.raises(IdentityError, match=message):
            with_countersignatures(draft, [entry])
    stranger = new_identity("A")
    with pytest.raises(IdentityError, match="it is A's, whose key in the roster is another"):
        countersign(draft, stranger)


def collect_other(draft, identities):
    return collect("demp", draft.coordinator, [new_request(identities[name]) for name in "ABC"])


def test_every_edit_of_a_countersigned_file_is_found(first, tmp_path):
    """One character of each line that people could understand as a change."""
    text = dump_roster(first)
    path = tmp_path / "roster.toml"
    path.write_text(text)
    assert load_countersigned(path) == first
    keys = [member.signing_key.hex() for member in first.hospitals]
    edits = [
        ('federation = "demo"', 'federation = "demp"'),
        ('name = "A"', 'name = "Q"'),
        (keys[0], NEXT["D"].signing_public_key.hex()),
        *((one, other) for one, other in itertools.permutations(keys, 2)),
        (first.coordinator.signing_key.hex(), NEXT["D"].signing_public_key.hex()),
        (first.hospitals[1].link_key.decode(), NEXT["D"].link_public_key.decode()),
        ("number = 1", "number = 2"),
        (first.countersignatures[2].signature.hex(), "00" * 64),
        (first.countersignatures[2].signature.hex(), "zz"),
    ]
    for old, new in edits:
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(IdentityError, match=r"roster\.toml: ") as error:
            load_countersigned(path)
        assert "\n" not in error.value.message


def test_a_file_of_countersignatures_is_for_one_roster(first, rotated, draft, identities, tmp_path):
    path = tmp_path / "B.countersignature.toml"
    given = [countersign(rotated, identities["B"]), countersign(rotated, NEXT["B"])]
    path.write_text(dump_countersignatures(rotated, given))
    assert load_countersignatures(path, rotated) == tuple(given)
    assert "PRIVATE" not in path.read_text()
    with pytest.raises(IdentityError, match="is for another roster than the draft") as error:
        load_countersignatures(path, first)
    assert "over the phone" in error.value.hint
    path.write_text(path.read_text().replace(given[0].signature.hex(), "11" * 64))
    with pytest.raises(IdentityError, match=r"B\.countersignature\.toml: roster number 2 is not the one"):
        load_countersignatures(path, rotated)
