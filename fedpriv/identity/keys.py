"""Who a hospital, or the coordinator, is: a name, an Ed25519 key that signs and a P-384 key for the link.

Two keys because they answer to different parties: the signing key is what the roster pins and what every
message of the protocol is checked with; the link key only lets a node in at the transport, which accepts
NIST curves and no Ed25519.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_public_key,
)

from fedpriv.errors import IdentityError
from fedpriv.identity.private_files import read_private_file, write_private_folder

if TYPE_CHECKING:
    from pathlib import Path

NAME_RULE = "a letter or digit, then at most 31 letters, digits or hyphens"
NAME_FILE = "name"
SIGNING_KEY_FILE = "signing.pem"
LINK_KEY_FILE = "link.pem"

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A name and its private keys; the keys stay in this process and in the identity folder."""

    name: str
    signing_key: Ed25519PrivateKey = field(repr=False)
    link_key: EllipticCurvePrivateKey = field(repr=False)

    @property
    def signing_public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        return self.signing_key.public_key().public_bytes_raw()

    @property
    def link_public_key(self) -> bytes:
        """The P-384 public key as one OpenSSH line, without comment or line end."""
        return self.link_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def check_name(name: str) -> str:
    """``name`` itself, if it can name a member of a federation; IdentityError otherwise."""
    if not _NAME.fullmatch(name):
        raise IdentityError(f"{name!r} is not a name: {NAME_RULE}")
    return name


def check_link_key(line: bytes) -> bytes:
    """``line`` itself, if it is a P-384 public key in canonical OpenSSH form; IdentityError otherwise."""
    try:
        key = load_ssh_public_key(line)
    except (ValueError, UnsupportedAlgorithm, NotImplementedError) as error:  # the last for compressed points
        raise IdentityError("a link key is no OpenSSH public key") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise IdentityError("a link key is not on the curve P-384")
    if key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) != line:
        raise IdentityError("a link key has a comment, a line end or another spelling than OpenSSH's own")
    return line


def new_identity(name: str) -> Identity:
    """Fresh keys for ``name``, from the operating system's generator."""
    return Identity(
        name=check_name(name),
        signing_key=Ed25519PrivateKey.generate(),
        link_key=generate_private_key(SECP384R1()),
    )


def save(identity: Identity, folder: Path) -> None:
    """Write the identity to the new ``folder`` (0700, files 0600); IdentityError if there is one."""
    write_private_folder(
        folder,
        {
            NAME_FILE: f"{identity.name}\n".encode(),
            SIGNING_KEY_FILE: _to_pem(identity.signing_key),
            LINK_KEY_FILE: _to_pem(identity.link_key),
        },
    )


def load(folder: Path) -> Identity:
    """The identity in ``folder``; IdentityError if it is missing, broken, or open to other users."""
    name = read_private_file(folder / NAME_FILE).decode("ascii", "backslashreplace").strip()
    signing_key = _from_pem(folder / SIGNING_KEY_FILE)
    if not isinstance(signing_key, Ed25519PrivateKey):
        raise IdentityError(f"{folder / SIGNING_KEY_FILE} holds no Ed25519 key")
    link_key = _from_pem(folder / LINK_KEY_FILE)
    if not isinstance(link_key, EllipticCurvePrivateKey) or not isinstance(link_key.curve, SECP384R1):
        raise IdentityError(f"{folder / LINK_KEY_FILE} holds no P-384 key")
    return Identity(check_name(name), signing_key, link_key)


def _to_pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _from_pem(path: Path) -> object:
    content = read_private_file(path)
    try:
        return load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError(
            f"{path} holds no private key", hint="restore the file, or make new keys and enrol them"
        ) from error
