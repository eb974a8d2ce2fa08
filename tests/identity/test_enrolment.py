from dataclasses import replace

import pytest

from fedpriv.errors import IdentityError
from fedpriv.identity.enrolment import (
    Request,
    collect,
    dump_request,
    load_request,
    make_identity,
    new_request,
    parse_request,
    request_path,
)
from fedpriv.identity.fingerprint import key_fingerprint, key_fingerprint_words
from fedpriv.identity.keys import load, new_identity
from fedpriv.identity.roster import Member


def test_a_request_holds_the_public_half_only(identities):
    request = new_request(identities["A"])
    assert request.member == Member.of(identities["A"])
    assert request.fingerprint == key_fingerprint(identities["A"].signing_public_key)
    assert request.words == key_fingerprint_words(identities["A"].signing_public_key)
    assert "PRIVATE" not in dump_request(request)


def test_what_is_dumped_is_parsed_and_loaded(identities, tmp_path):
    request = new_request(identities["A"])
    assert parse_request(dump_request(request), "a.toml") == request
    (tmp_path / "a.toml").write_text(dump_request(request))
    assert load_request(tmp_path / "a.toml") == request


def test_requests_become_a_roster(identities, operator):
    roster = collect("demo", operator, [new_request(identities[name]) for name in "BCA"])
    assert roster.names == ("A", "B", "C")
    assert roster.coordinator == operator


def test_the_same_request_twice_is_refused(identities, operator):
    with pytest.raises(IdentityError, match="A and A have the same name"):
        collect("demo", operator, [new_request(identities["A"])] * 2)


@pytest.mark.parametrize("field", ["name", "signing_key", "link_key"])
def test_a_request_edited_on_the_way_is_caught(identities, field):
    request, other = new_request(identities["A"]), new_identity("B")
    edited = dump_request(request).replace(
        getattr(request.member, field).hex() if field == "signing_key" else str_of(request.member, field),
        other.signing_public_key.hex() if field == "signing_key" else str_of(Member.of(other), field),
        1,
    )
    assert edited != dump_request(request)
    with pytest.raises(
        IdentityError, match=r"a\.toml: the request of . was changed after it was signed"
    ) as error:
        parse_request(edited, "a.toml")
    assert "over the phone" in error.value.hint


def str_of(member, field):
    value = getattr(member, field)
    return f'"{value if isinstance(value, str) else value.decode()}"'


def test_a_signature_for_another_purpose_is_refused(identities):
    from fedpriv.identity.enrolment import _payload
    from fedpriv.identity.signing import sign

    member = Member.of(identities["A"])
    signature = sign(identities["A"].signing_key, b"another purpose", _payload(member))
    with pytest.raises(IdentityError, match="was changed"):
        Request(member, signature)


def test_errors_in_the_file_name_it(identities):
    request = new_request(identities["A"])
    text = dump_request(request)
    for old, new, message in [
        ('name = "A"', 'name = ""', r"a\.toml: '' is not a name"),
        ('name = "A"', 'nome = "A"', r"a\.toml: unknown section or key: nome"),
        (request.signature.hex(), "xyz", r"a\.toml: the signature is not written in hexadecimal"),
        (request.signature.hex(), "00", r"a\.toml: the request of A was changed"),
        (request.member.signing_key.hex(), "00" * 32, r"a\.toml: .* is no sound Ed25519 public key"),
        ("nistp384 ", "nistp256 ", r"a\.toml: a link key is no OpenSSH public key"),
    ]:
        with pytest.raises(IdentityError, match=message):
            parse_request(text.replace(old, new, 1), "a.toml")


def test_two_requests_with_one_key_are_refused(identities, operator):
    stolen = replace(identities["A"], name="Z")
    with pytest.raises(IdentityError, match="A and Z have the same signing key"):
        collect("demo", operator, [new_request(identities["A"]), new_request(stolen)])


def test_keys_and_their_request_are_made_together(tmp_path):
    request = make_identity("A", tmp_path)
    assert load_request(request_path("A", tmp_path)) == request
    assert Member.of(load(tmp_path / "identity")) == request.member


def test_a_request_that_is_there_already_leaves_no_keys(tmp_path):
    request_path("A", tmp_path).write_text("an older request")
    with pytest.raises(IdentityError, match="exists already"):
        make_identity("A", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["A.request.toml"]
    assert request_path("A", tmp_path).read_text() == "an older request"
