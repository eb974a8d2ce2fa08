import itertools
from dataclasses import replace

import pytest

from fedpriv.errors import IdentityError
from fedpriv.identity.fingerprint import fingerprint, fingerprint_words
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Member, Operator, Roster, dump_roster, load_roster, parse_roster
from fedpriv.identity.tls import new_authority, new_server_credentials


@pytest.fixture(scope="session")
def roster(identities, operator):
    return Roster("demo", operator, tuple(Member.of(identities[name]) for name in "CAB"))


def test_hospitals_are_sorted_and_found_by_name(roster, identities):
    assert roster.names == ("A", "B", "C")
    assert roster.member("B") == Member.of(identities["B"])
    assert roster.signing_keys() == {name: identities[name].signing_public_key for name in "ABC"}


def test_a_hospital_that_is_not_there_is_named_with_those_that_are(roster):
    with pytest.raises(IdentityError, match="the roster of demo has no hospital D; it has A, B, C") as error:
        roster.member("D")
    assert error.value.hint


def test_the_digest_does_not_depend_on_the_order_of_requests(roster):
    for hospitals in itertools.permutations(roster.hospitals):
        again = Roster(roster.federation, roster.coordinator, hospitals)
        assert again == roster
        assert again.digest == roster.digest


def test_every_field_changes_the_digest(roster):
    member, other = roster.hospitals[0], Member.of(new_identity("A"))
    changed = [
        replace(roster, federation="demp"),
        replace(roster, coordinator=replace(roster.coordinator, name="other")),
        replace(roster, coordinator=replace(roster.coordinator, signing_key=other.signing_key)),
        replace(
            roster,
            coordinator=replace(roster.coordinator, ca_certificate=new_authority("demo").certificate_pem),
        ),
        replace(roster, hospitals=roster.hospitals[1:]),
        *(
            replace(roster, hospitals=(replace(member, **change), *roster.hospitals[1:]))
            for change in (
                {"name": "D"},
                {"signing_key": other.signing_key},
                {"link_key": other.link_key},
            )
        ),
    ]
    assert len({roster.digest, *(entry.digest for entry in changed)}) == len(changed) + 1


def test_the_fingerprint_is_that_of_the_digest(roster):
    assert len(roster.digest) == 32
    assert roster.fingerprint == fingerprint(roster.digest)
    assert roster.words == fingerprint_words(roster.digest)


def test_what_is_dumped_is_parsed_and_loaded(roster, tmp_path):
    text = dump_roster(roster)
    assert parse_roster(text, "roster.toml") == roster
    (tmp_path / "roster.toml").write_text(text)
    assert load_roster(tmp_path / "roster.toml") == roster


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: (a, replace(b, name="A")), "A and A have the same name"),
        (lambda a, b: (a, replace(b, name="a")), "A and a have the same name"),
        (lambda a, b: (a, replace(b, name="Coordinator")), "coordinator and Coordinator have the same name"),
        (lambda a, b: (a, replace(b, signing_key=a.signing_key)), "A and B have the same signing key"),
        (lambda a, b: (a, replace(b, link_key=a.link_key)), "A and B have the same link key"),
        (lambda a, b: (a, replace(b, name="b c")), "'b c' is not a name"),
        (
            lambda a, b: (a, replace(b, signing_key=bytes(32))),
            "the signing key of B is no sound Ed25519 public key",
        ),
        (lambda a, b: (a, replace(b, signing_key=b"\x01" + bytes(31))), "the signing key of B is no sound"),
        (lambda a, b: (a, replace(b, signing_key=b.signing_key[:31])), "the signing key of B is no sound"),
        (lambda a, b: (a, replace(b, link_key=b"ssh-rsa x")), "no OpenSSH public key"),
        (lambda a, b: (), "the roster names no hospital"),
    ],
)
def test_what_would_confuse_hospitals_is_refused(roster, change, message):
    first, second, _ = roster.hospitals
    with pytest.raises(IdentityError, match=message):
        replace(roster, hospitals=change(first, second))


def test_a_hospital_with_the_coordinators_key_is_refused(roster):
    operator = replace(roster.coordinator, signing_key=roster.hospitals[0].signing_key)
    with pytest.raises(IdentityError, match="coordinator and A have the same signing key"):
        replace(roster, coordinator=operator)


def test_an_unsound_key_of_the_coordinator_is_refused(roster):
    with pytest.raises(IdentityError, match="the signing key of coordinator is no sound"):
        replace(roster, coordinator=replace(roster.coordinator, signing_key=bytes(32)))


@pytest.mark.parametrize("federation", ["", "all pbs", "a" * 33])
def test_a_bad_federation_name_is_refused(roster, federation):
    with pytest.raises(IdentityError, match="is not a name"):
        replace(roster, federation=federation)


def test_only_one_plain_ca_certificate_is_taken(roster):
    authority, server = new_authority("x").certificate_pem, new_server_credentials("x", ["localhost"])
    for pem, message in [
        ("", "no CA certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no CA certificate"),
        (server.certificate_pem.decode(), "but not of a CA"),
        (authority + authority, "more than one plain certificate"),
        ("text\n" + authority, "more than one plain certificate"),
    ]:
        with pytest.raises(IdentityError, match=message):
            replace(roster, coordinator=replace(roster.coordinator, ca_certificate=pem))


def test_a_certificate_without_constraints_is_refused(roster):
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    key, name, now = generate_private_key(SECP256R1()), x509.Name([]), dt.datetime.now(dt.UTC)
    plain = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1)).sign(
        key, SHA256()
    )
    pem = plain.public_bytes(Encoding.PEM).decode()
    with pytest.raises(IdentityError, match="no CA certificate"):
        replace(roster, coordinator=replace(roster.coordinator, ca_certificate=pem))


def test_errors_in_the_file_name_it_and_the_place(roster, tmp_path):
    text, key = dump_roster(roster), roster.hospitals[0].signing_key.hex()
    for old, new, message in [
        ('federation = "demo"', 'federation = "demo', r"r\.toml is not TOML: .*line 1"),
        ('federation = "demo"', "", r"r\.toml: missing section or key: federation"),
        ('federation = "demo"', 'federation = "demo"\nextra = 1', r"r\.toml: unknown section or key: extra"),
        ('name = "A"', 'name = "A"\nrole = "x"', r"r\.toml: \[hospitals\[0\]\] role: unknown key"),
        ('name = "A"', 'name = "A/B"', r"r\.toml: 'A/B' is not a name"),
        (key, key.upper(), r"r\.toml: .* is no sound Ed25519 public key"),
        (key, "zz", r"r\.toml: 'zz' is no sound Ed25519 public key"),
        (key, "00" * 32, r"r\.toml: .* is no sound Ed25519 public key"),
        ("ecdsa-sha2-nistp384", "ssh-ed25519", r"r\.toml: a link key is no OpenSSH public key"),
    ]:
        assert old in text
        with pytest.raises(IdentityError, match=message):
            parse_roster(text.replace(old, new, 1), "r.toml")
    with pytest.raises(IdentityError, match=r"none\.toml cannot be read: No such file"):
        load_roster(tmp_path / "none.toml")


def test_the_operator_is_a_record_without_secrets(operator):
    assert set(Operator.__slots__) == {"name", "signing_key", "ca_certificate"}
    assert "PRIVATE" not in repr(operator)
