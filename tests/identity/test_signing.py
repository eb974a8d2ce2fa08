import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import ProtocolRefused
from fedpriv.identity.signing import SIGNATURE_BYTES, BadSignature, sign, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


@given(st.binary(max_size=64), st.binary(max_size=256))
def test_a_signature_verifies_for_its_label_and_payload(label, payload):
    signature = sign(KEY, label, payload)
    assert len(signature) == SIGNATURE_BYTES
    verify(PUBLIC, label, payload, signature)


@given(st.binary(min_size=1, max_size=32), st.binary(min_size=1, max_size=32), st.data())
def test_bytes_cannot_move_between_label_and_payload(label, payload, data):
    signature = sign(KEY, label, payload)
    cut = data.draw(st.integers(0, len(label + payload)).filter(lambda cut: cut != len(label)))
    whole = label + payload
    with pytest.raises(BadSignature):
        verify(PUBLIC, whole[:cut], whole[cut:], signature)


@given(st.integers(0, 511))
def test_any_flipped_bit_of_a_signature_is_refused(bit):
    signature = bytearray(sign(KEY, b"purpose", b"payload"))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature):
        verify(PUBLIC, b"purpose", b"payload", bytes(signature))


def test_another_key_another_label_and_another_payload_are_refused():
    signature = sign(KEY, b"purpose", b"payload")
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for public, label, payload in [
        (other, b"purpose", b"payload"),
        (PUBLIC, b"Purpose", b"payload"),
        (PUBLIC, b"purpose", b"payloae"),
    ]:
        with pytest.raises(BadSignature):
            verify(public, label, payload, signature)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33)])
def test_a_key_of_the_wrong_length_is_refused_without_a_traceback_of_the_library(public):
    with pytest.raises(BadSignature, match=r"does not verify \(purpose\)"):
        verify(public, b"purpose", b"payload", bytes(64))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_the_wrong_length_is_refused(length):
    with pytest.raises(BadSignature):
        verify(PUBLIC, b"purpose", b"payload", bytes(length))


def test_a_bad_signature_is_a_protocol_refusal():
    assert issubclass(BadSignature, ProtocolRefused)


def test_a_bare_signature_of_the_payload_is_not_accepted():
    with pytest.raises(BadSignature):
        verify(PUBLIC, b"", b"payload", KEY.sign(b"payload"))
