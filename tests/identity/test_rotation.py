"""New keys beside the old ones: made, agreed to, and used only once a roster has them."""

import pytest
from support.rosters import sealed

from fedpriv.errors import IdentityError
from fedpriv.identity import keys, private_files
from fedpriv.identity.countersigning import check_countersigned, with_countersignatures
from fedpriv.identity.enrolment import (
    collect,
    load_request,
    make_identity,
    new_request,
    request_path,
    succeed,
)
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Member, Operator
from fedpriv.identity.rotation import (
    NEXT_FOLDER,
    adopt_next,
    current_identity,
    own_countersignatures,
    own_identity,
    rotate,
)
from fedpriv.identity.tls import new_authority

OPERATOR = new_identity("coordinator")
OTHER = new_identity("B")
AUTHORITY = new_authority("demo").certificate_pem


def first_roster(request):
    operator = Operator("coordinator", OPERATOR.signing_public_key, AUTHORITY)
    return collect("demo", operator, [request, new_request(OTHER)])


@pytest.fixture
def first(tmp_path):
    """The home of A in ``tmp_path``, in the first roster."""
    return first_roster(make_identity("A", tmp_path))


def test_new_keys_wait_beside_the_old_ones(first, tmp_path):
    before = keys.load(tmp_path / "identity")
    request = rotate(tmp_path)
    following = keys.load(tmp_path / NEXT_FOLDER)
    assert load_request(request_path("A", tmp_path)) == request
    assert request.member.signing_key == following.signing_public_key != before.signing_public_key
    assert following.link_public_key != before.link_public_key
    assert keys.load(tmp_path / "identity").signing_public_key == before.signing_public_key
    assert (tmp_path / NEXT_FOLDER).stat().st_mode & 0o777 == 0o700
    with pytest.raises(IdentityError, match=r"identity\.next exists already: a rotation is under way"):
        rotate(tmp_path)


def test_the_link_key_alone_can_be_exchanged(first, tmp_path):
    before = keys.load(tmp_path / "identity")
    request = rotate(tmp_path, link_only=True)
    assert request.member.signing_key == before.signing_public_key
    assert request.member.link_key != before.link_public_key
    after = succeed(first, first.coordinator, [request])
    (word,) = own_countersignatures(tmp_path, after)
    assert word.signing_key == before.signing_public_key


def test_old_and_new_keys_agree_in_one_step(first, tmp_path):
    before = keys.load(tmp_path / "identity")
    after = succeed(first, first.coordinator, [rotate(tmp_path)])
    words = own_countersignatures(tmp_path, after)
    following = keys.load(tmp_path / NEXT_FOLDER)
    assert {word.signing_key for word in words} == {
        before.signing_public_key,
        following.signing_public_key,
    }
    check_countersigned(
        with_countersignatures(
            succeed(
                sealed(first, OPERATOR, before, OTHER),
                first.coordinator,
                [load_request(request_path("A", tmp_path))],
            ),
            [*words, *sealed(after, OPERATOR, OTHER).countersignatures],
        )
    )
    assert own_identity(tmp_path, after).signing_public_key == following.signing_public_key
    assert own_identity(tmp_path, first).signing_public_key == before.signing_public_key


def test_next_keys_take_the_place_of_the_old_ones_which_are_deleted(first, tmp_path):
    before = keys.load(tmp_path / "identity")
    adopt_next(tmp_path, before)  # there is no next one: nothing happens
    rotate(tmp_path)
    following = keys.load(tmp_path / NEXT_FOLDER)
    adopt_next(tmp_path, before)  # the roster has the old ones: nothing happens
    assert current_identity(tmp_path).signing_public_key == before.signing_public_key
    adopt_next(tmp_path, following)
    assert current_identity(tmp_path).signing_public_key == following.signing_public_key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.request.toml", "identity"]


def test_a_crash_between_the_two_renames_can_be_repeated(first, tmp_path, monkeypatch):
    rotate(tmp_path)
    following = keys.load(tmp_path / NEXT_FOLDER)
    (tmp_path / "identity").rename(tmp_path / ".identity.gone")
    assert current_identity(tmp_path) is None
    adopt_next(tmp_path, following)
    assert current_identity(tmp_path).signing_public_key == following.signing_public_key
    assert not (tmp_path / ".identity.gone").exists()


def test_a_disk_that_refuses_is_one_line(first, tmp_path, monkeypatch):
    rotate(tmp_path)

    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_files, "sync_folder", full)
    with pytest.raises(IdentityError, match="identity cannot be written: No space left on device"):
        adopt_next(tmp_path, keys.load(tmp_path / NEXT_FOLDER))


def test_lost_keys_are_replaced_by_name(first, tmp_path):
    with pytest.raises(IdentityError, match="its keys can agree to their own end"):
        rotate(tmp_path, lost="A")
    (tmp_path / "identity").rename(tmp_path / "drowned")
    with pytest.raises(IdentityError, match="cannot be read"):
        rotate(tmp_path)
    request = rotate(tmp_path, lost="A")
    after = succeed(first, first.coordinator, [request], lost=["A"])
    (word,) = own_countersignatures(tmp_path, after)
    assert word.signing_key == request.member.signing_key
    adopt_next(tmp_path, own_identity(tmp_path, after))
    assert member_in(tmp_path) == request.member


def member_in(home):
    return Member.of(keys.load(home / "identity"))


def test_a_roster_with_other_keys_under_our_name_is_not_agreed_to(first, tmp_path):
    forged = first_roster(new_request(new_identity("A")))
    for ask in (own_identity, own_countersignatures):
        with pytest.raises(IdentityError, match="the roster has another key for A than") as error:
            ask(tmp_path, forged)
        assert "call the operator" in error.value.hint
    without = succeed(first, first.coordinator, [], leaves=["A"])
    with pytest.raises(IdentityError, match="has no hospital A"):
        own_identity(tmp_path, without)


def test_the_coordinator_finds_itself_by_its_signing_key(first, tmp_path):
    home = tmp_path / "coordinator"
    keys.save(OPERATOR, home / "identity")
    assert own_identity(home, first).signing_public_key == OPERATOR.signing_public_key
    (word,) = own_countersignatures(home, first)
    assert word.name == "coordinator"
    rotate(home)
    assert own_identity(home, first).signing_public_key == OPERATOR.signing_public_key
