"""Ed25519 signatures with a purpose: every signature names what it was made for.

What is signed is never the payload alone but the frame

    b"fedpriv-signature-v1" | len(label) as uint32 LE | label | payload

so that a signature made for one purpose (say an advertisement) can never be shown as one made for
another (say a journal row), and no shift of bytes between label and payload gives the same frame.

Formal guarantee: Ed25519 is strongly unforgeable (RFC 8032; Brendel et al. 2021, eprint 2020/823);
the frame is injective in (label, payload).
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpriv.errors import ProtocolRefused

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32

_DOMAIN = b"fedpriv-signature-v1"


class BadSignature(ProtocolRefused):
    """A signature was not made by this key, over this payload, for this purpose."""


def sign(key: Ed25519PrivateKey, label: bytes, payload: bytes) -> bytes:
    """The 64-byte signature of ``payload`` for the purpose ``label``."""
    return key.sign(_frame(label, payload))


def verify(public_key: bytes, label: bytes, payload: bytes, signature: bytes) -> None:
    """Return only if ``signature`` is ``payload``'s for ``label`` under the raw 32-byte ``public_key``.

    Raises BadSignature otherwise, also for a key or a signature of the wrong length.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _frame(label, payload))
    except (InvalidSignature, ValueError) as error:
        purpose = label.decode("ascii", "backslashreplace")
        raise BadSignature(f"the signature does not verify ({purpose})") from error


def _frame(label: bytes, payload: bytes) -> bytes:
    return _DOMAIN + struct.pack("<I", len(label)) + label + payload
