"""The roster: who is in the federation, agreed on out of band and pinned by every hospital.

Nothing in it is ever received from the coordinator during a round. Its digest is part of every signed
message, so two hospitals with different rosters never have a round together.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedpriv.errors import IdentityError
from fedpriv.identity.edwards import is_sound_public_key
from fedpriv.identity.fingerprint import fingerprint
from fedpriv.identity.keys import Identity, check_link_key, check_name
from fedpriv.toml_files import dump_toml, parse_toml, read_toml

if TYPE_CHECKING:
    from pathlib import Path

_DIGEST_LABEL = b"fedpriv-roster-v1"


@dataclass(frozen=True, slots=True)
class Member:
    """A hospital: its raw Ed25519 key (32 bytes) and its P-384 key as one OpenSSH line."""

    name: str
    signing_key: bytes
    link_key: bytes

    @classmethod
    def of(cls, identity: Identity) -> Member:
        """The public half of ``identity``."""
        return cls(identity.name, identity.signing_public_key, identity.link_public_key)


@dataclass(frozen=True, slots=True)
class Operator:
    """The coordinator: its raw Ed25519 key (32 bytes) and the PEM of the CA of its TLS certificates."""

    name: str
    signing_key: bytes
    ca_certificate: str


@dataclass(frozen=True, slots=True)
class Roster:
    """The coordinator and the hospitals, sorted by name; checked whenever one is made."""

    federation: str
    coordinator: Operator
    hospitals: tuple[Member, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "hospitals", tuple(sorted(self.hospitals, key=lambda member: member.name)))
        check_name(self.federation)
        everyone: list[Operator | Member] = [self.coordinator, *self.hospitals]
        for member in everyone:
            check_name(member.name)
            if not is_sound_public_key(member.signing_key):
                raise IdentityError(f"the signing key of {member.name} is no sound Ed25519 public key")
        for hospital in self.hospitals:
            check_link_key(hospital.link_key)
        if not self.hospitals:
            raise IdentityError("the roster names no hospital")
        # Names that differ only in case look alike over the phone and collide on some file systems.
        _refuse_repeated("name", [(member.name, member.name.casefold()) for member in everyone])
        _refuse_repeated("signing key", [(member.name, member.signing_key) for member in everyone])
        _refuse_repeated("link key", [(member.name, member.link_key) for member in self.hospitals])
        _check_authority(self.coordinator.ca_certificate)

    @property
    def digest(self) -> bytes:
        """SHA-256 (32 bytes) over a canonical encoding of everything in the roster."""
        content = (
            self.federation,
            (self.coordinator.name, self.coordinator.signing_key, self.coordinator.ca_certificate),
            [(member.name, member.signing_key, member.link_key) for member in self.hospitals],
        )
        return hashlib.sha256(_DIGEST_LABEL + msgspec.msgpack.encode(content)).digest()

    @property
    def fingerprint(self) -> str:
        """What every admin compares with the others over the phone before pinning the roster."""
        return fingerprint(self.digest)

    @property
    def names(self) -> tuple[str, ...]:
        """The hospitals' names, sorted."""
        return tuple(member.name for member in self.hospitals)

    def member(self, name: str) -> Member:
        """The hospital ``name``; IdentityError if the roster has none."""
        for member in self.hospitals:
            if member.name == name:
                return member
        raise IdentityError(
            f"the roster of {self.federation} has no hospital {name}; it has {', '.join(self.names)}",
            hint="send the request file of `fedpriv keys new` to the operator, then pin the new roster",
        )

    def signing_keys(self) -> dict[str, bytes]:
        """Hospital name -> raw Ed25519 public key."""
        return {member.name: member.signing_key for member in self.hospitals}


class _OperatorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    signing_key: str
    ca_certificate: str


class _MemberFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    signing_key: str
    link_key: str


class _RosterFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    federation: str
    coordinator: _OperatorFile
    hospitals: list[_MemberFile]


def load_roster(path: Path) -> Roster:
    """The roster in the file ``path``; IdentityError naming the file and what is wrong."""
    return _from_file(read_toml(path, _RosterFile, IdentityError), str(path))


def parse_roster(text: str, source: str) -> Roster:
    """The roster in ``text``; ``source`` is the name of the file in messages."""
    return _from_file(parse_toml(text, source, _RosterFile, IdentityError), source)


def dump_roster(roster: Roster) -> str:
    """``roster`` as TOML; parsing it gives an equal roster."""
    return dump_toml(
        _RosterFile(
            federation=roster.federation,
            coordinator=_OperatorFile(
                roster.coordinator.name,
                roster.coordinator.signing_key.hex(),
                roster.coordinator.ca_certificate,
            ),
            hospitals=[
                _MemberFile(member.name, member.signing_key.hex(), member.link_key.decode("ascii"))
                for member in roster.hospitals
            ],
        )
    )


def _from_file(file: _RosterFile, source: str) -> Roster:
    try:
        return Roster(
            federation=file.federation,
            coordinator=Operator(
                file.coordinator.name,
                parse_signing_key(file.coordinator.signing_key),
                file.coordinator.ca_certificate,
            ),
            hospitals=tuple(
                Member(item.name, parse_signing_key(item.signing_key), item.link_key.encode())
                for item in file.hospitals
            ),
        )
    except IdentityError as error:
        raise IdentityError(f"{source}: {error.message}", hint=error.hint) from error


def parse_signing_key(text: str) -> bytes:
    """The 32 bytes of a key written as 64 lower-case hexadecimal digits."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if key.hex() != text or not is_sound_public_key(key):
        raise IdentityError(
            f"{text[:80]!r} is no sound Ed25519 public key (64 lower-case hexadecimal digits)"
        )
    return key


def _refuse_repeated(what: str, entries: list[tuple[str, object]]) -> None:
    first: dict[object, str] = {}
    for name, value in entries:
        if value in first:
            raise IdentityError(f"{first[value]} and {name} have the same {what}")
        first[value] = name


def _check_authority(pem: str) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise IdentityError("the coordinator's ca_certificate is no CA certificate in PEM") from error
    if not constraints.ca:
        raise IdentityError("the coordinator's ca_certificate is a certificate, but not of a CA")
    if certificate.public_bytes(Encoding.PEM).decode("ascii") != pem:
        raise IdentityError("the coordinator's ca_certificate holds more than one plain certificate")
