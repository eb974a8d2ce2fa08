import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import IdentityError
from fedpriv.identity.keys import (
    LINK_KEY_FILE,
    NAME_FILE,
    SIGNING_KEY_FILE,
    check_link_key,
    check_name,
    load,
    new_identity,
    save,
)


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def folder(tmp_path):
    save(new_identity("charite"), tmp_path / "identity")
    return tmp_path / "identity"


def test_what_is_saved_is_loaded(tmp_path):
    identity = new_identity("charite")
    save(identity, tmp_path / "identity")
    loaded = load(tmp_path / "identity")
    assert loaded.name == "charite"
    assert loaded.signing_public_key == identity.signing_public_key
    assert loaded.link_public_key == identity.link_public_key


def test_two_identities_share_no_key():
    one, other = new_identity("A"), new_identity("A")
    assert one.signing_public_key != other.signing_public_key
    assert one.link_public_key != other.link_public_key


def test_no_secret_is_ever_printed():
    identity = new_identity("charite")
    assert repr(identity) == "Identity(name='charite')"
    assert str(identity) == repr(identity)


def test_the_link_key_is_one_openssh_line_of_p_384():
    line = new_identity("A").link_public_key
    assert line.startswith(b"ecdsa-sha2-nistp384 ")
    assert b"\n" not in line
    assert check_link_key(line) == line


def test_saving_never_overwrites(folder):
    before = load(folder).signing_public_key
    with pytest.raises(IdentityError, match="exists already"):
        save(new_identity("charite"), folder)
    assert load(folder).signing_public_key == before


@pytest.mark.parametrize("name", [NAME_FILE, SIGNING_KEY_FILE, LINK_KEY_FILE])
def test_a_key_file_that_others_can_read_is_refused(folder, name):
    (folder / name).chmod(0o644)
    with pytest.raises(IdentityError, match="open to other users"):
        load(folder)


@pytest.mark.parametrize("name", [NAME_FILE, SIGNING_KEY_FILE, LINK_KEY_FILE])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(IdentityError, match=f"{name} cannot be read"):
        load(folder)


@pytest.mark.parametrize("name", [SIGNING_KEY_FILE, LINK_KEY_FILE])
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_broken_key_file_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(IdentityError, match=f"{name} holds no private key"):
        load(folder)


def test_an_encrypted_key_is_refused(folder):
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    (folder / SIGNING_KEY_FILE).write_bytes(locked)
    with pytest.raises(IdentityError, match="holds no private key"):
        load(folder)


def test_a_signing_key_of_another_kind_is_refused(folder):
    (folder / SIGNING_KEY_FILE).write_bytes(pem(generate_private_key(SECP384R1())))
    with pytest.raises(IdentityError, match="holds no Ed25519 key"):
        load(folder)


@pytest.mark.parametrize("key", [Ed25519PrivateKey.generate(), generate_private_key(SECP256R1())])
def test_a_link_key_of_another_kind_is_refused(folder, key):
    (folder / LINK_KEY_FILE).write_bytes(pem(key))
    with pytest.raises(IdentityError, match="holds no P-384 key"):
        load(folder)


def test_a_bad_name_in_the_folder_is_refused(folder):
    (folder / NAME_FILE).write_bytes(b"../\xff\n")
    with pytest.raises(IdentityError, match="is not a name"):
        load(folder)


@given(st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,31}", fullmatch=True))
def test_good_names_are_taken(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a.b", "a_b", "ä", "A\n", "a" * 33, "..", "A\x00"])
def test_bad_names_are_refused(name):
    with pytest.raises(IdentityError, match="is not a name"):
        new_identity(name)


@pytest.mark.parametrize("line", [b"", b"ssh-rsa AAAA", b"ecdsa-sha2-nistp384 AAAA", b"\xff"])
def test_what_is_no_openssh_key_is_no_link_key(line):
    with pytest.raises(IdentityError, match="no OpenSSH public key"):
        check_link_key(line)


@pytest.mark.parametrize("key", [Ed25519PrivateKey.generate(), generate_private_key(SECP256R1())])
def test_only_p_384_is_a_link_key(key):
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    with pytest.raises(IdentityError, match="not on the curve P-384"):
        check_link_key(line)


def test_a_compressed_point_is_no_link_key():
    """OpenSSH has a form for it that the library names instead of refusing."""
    compressed = (
        new_identity("A").link_key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    )
    fields = (b"ecdsa-sha2-nistp384", b"nistp384", compressed)
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    with pytest.raises(IdentityError, match="no OpenSSH public key"):
        check_link_key(b"ecdsa-sha2-nistp384 " + base64.b64encode(blob))


@pytest.mark.parametrize("change", [lambda line: line + b" comment", lambda line: line + b"\n"])
def test_another_spelling_of_a_link_key_is_refused(change):
    with pytest.raises(IdentityError, match="another spelling"):
        check_link_key(change(new_identity("A").link_public_key))
