"""The roster: who is in the federation, agreed on out of band and pinned by every hospital.

Nothing in it is ever received from the coordinator during a round. Its digest is part of every signed
message, so two hospitals with different rosters never have a round together.

A roster that follows another holds it, and all before it: its number is one more, and its digest covers that
of its predecessor. So one fingerprint stands for the whole history, and keys of the past are there to verify
what was signed with them. Who must agree to it: `fedpriv.identity.countersigning`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta

from fedpriv.errors import IdentityError
from fedpriv.identity.edwards import is_sound_public_key
from fedpriv.identity.fingerprint import fingerprint, fingerprint_words
from fedpriv.identity.keys import Identity, check_link_key, check_name
from fedpriv.identity.succession import check_succession, everyone
from fedpriv.toml_files import dump_toml, parse_toml, read_toml

if TYPE_CHECKING:
    from pathlib import Path

MOST_ROSTERS = 200
"""The longest history that a file may hold."""

_DIGEST_LABEL = b"fedpriv-roster-v2"


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
class Countersignature:
    """Under a roster: ``name`` agreed to it with the raw Ed25519 ``signing_key``, old or new."""

    name: str
    signing_key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Roster:
    """The coordinator and the hospitals, sorted by name; checked whenever one is made.

    ``lost`` names those whose signing key of the predecessor is lost, and so cannot agree to its end.
    ``countersignatures`` are under the digest, not in it; whether they are complete is not checked here.
    """

    federation: str
    coordinator: Operator
    hospitals: tuple[Member, ...]
    predecessor: Roster | None = None
    lost: tuple[str, ...] = ()
    countersignatures: tuple[Countersignature, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "hospitals", tuple(sorted(self.hospitals, key=lambda member: member.name)))
        check_name(self.federation)
        members = everyone(self)
        for member in members:
            check_name(member.name)
            if not is_sound_public_key(member.signing_key):
                raise IdentityError(f"the signing key of {member.name} is no sound Ed25519 public key")
        for hospital in self.hospitals:
            check_link_key(hospital.link_key)
        if not self.hospitals:
            raise IdentityError("the roster names no hospital")
        # Names that differ only in case look alike over the phone and collide on some file systems.
        _refuse_repeated("name", [(member.name, member.name.casefold()) for member in members])
        _refuse_repeated("signing key", [(member.name, member.signing_key) for member in members])
        _refuse_repeated("link key", [(member.name, member.link_key) for member in self.hospitals])
        _check_authority(self.coordinator.ca_certificate)
        check_succession(self)

    @property
    def lineage(self) -> tuple[Roster, ...]:
        """Every roster from the first one to this one."""
        found = [self]
        while found[-1].predecessor is not None:
            found.append(found[-1].predecessor)
        return tuple(reversed(found))

    @property
    def number(self) -> int:
        """1 for the first roster, then one more each time."""
        return len(self.lineage)

    @property
    def digest(self) -> bytes:
        """SHA-256 (32 bytes) over a canonical encoding of everything in the roster and in those before it."""
        digest = b""
        for number, roster in enumerate(self.lineage, start=1):
            operator = roster.coordinator
            content = (
                roster.federation,
                number,
                digest,
                roster.lost,
                (operator.name, operator.signing_key, operator.ca_certificate),
                [(member.name, member.signing_key, member.link_key) for member in roster.hospitals],
            )
            digest = hashlib.sha256(_DIGEST_LABEL + msgspec.msgpack.encode(content)).digest()
        return digest

    @property
    def fingerprint(self) -> str:
        """What every admin compares with the others over the phone before pinning the roster."""
        return fingerprint(self.digest)

    @property
    def words(self) -> str:
        """The fingerprint in words."""
        return fingerprint_words(self.digest)

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

    def at(self, digest: bytes) -> Roster | None:
        """The roster with this digest, of this one and all before it; None if there is none."""
        return next((roster for roster in self.lineage if roster.digest == digest), None)

    def signing_keys_of(self, name: str) -> tuple[bytes, ...]:
        """Every signing key that ``name`` ever had, the newest first; IdentityError if it was never here."""
        found: dict[bytes, None] = {}
        for roster in reversed(self.lineage):
            found |= {member.signing_key: None for member in everyone(roster) if member.name == name}
        return tuple(found) or (self.member(name).signing_key,)

    @property
    def retired_link_keys(self) -> tuple[bytes, ...]:
        """The link keys that were in a roster before, and can never come back."""
        current = {member.link_key for member in self.hospitals}
        before = {member.link_key for roster in self.lineage for member in roster.hospitals}
        return tuple(sorted(before - current))


class _OperatorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    signing_key: str
    ca_certificate: str


class _MemberFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    signing_key: str
    link_key: str


class CountersignatureFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A countersignature as it is written; keys and signatures in hexadecimal digits."""

    name: str
    signing_key: str
    signature: str


class _OneRosterFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    federation: str
    number: int
    predecessor: str
    coordinator: _OperatorFile
    hospitals: list[_MemberFile]
    lost: list[str] = []
    countersignatures: list[CountersignatureFile] = []


class _RosterFile(_OneRosterFile, frozen=True, forbid_unknown_fields=True):
    past: Annotated[list[_OneRosterFile], Meta(max_length=MOST_ROSTERS - 1)] = []


def load_roster(path: Path) -> Roster:
    """The roster in the file ``path``; IdentityError naming the file and what is wrong."""
    return _from_file(read_toml(path, _RosterFile, IdentityError), str(path))


def parse_roster(text: str, source: str) -> Roster:
    """The roster in ``text``; ``source`` is the name of the file in messages."""
    return _from_file(parse_toml(text, source, _RosterFile, IdentityError), source)


def dump_roster(roster: Roster) -> str:
    """``roster`` as TOML, with all before it; parsing it gives an equal roster."""
    *past, current = [msgspec.structs.asdict(_to_file(one)) for one in roster.lineage]
    return dump_toml(_RosterFile(**current, past=[_OneRosterFile(**one) for one in past]))


def _to_file(roster: Roster) -> _OneRosterFile:
    return _OneRosterFile(
        federation=roster.federation,
        number=roster.number,
        predecessor=roster.predecessor.digest.hex() if roster.predecessor is not None else "",
        coordinator=_OperatorFile(
            roster.coordinator.name,
            roster.coordinator.signing_key.hex(),
            roster.coordinator.ca_certificate,
        ),
        hospitals=[
            _MemberFile(member.name, member.signing_key.hex(), member.link_key.decode("ascii"))
            for member in roster.hospitals
        ],
        lost=list(roster.lost),
        countersignatures=[
            CountersignatureFile(entry.name, entry.signing_key.hex(), entry.signature.hex())
            for entry in roster.countersignatures
        ],
    )


def _from_file(file: _RosterFile, source: str) -> Roster:
    roster: Roster | None = None
    try:
        for one in (*file.past, file):
            roster = _one_from_file(one, roster)
    except IdentityError as error:
        raise IdentityError(f"{source}: {error.message}", hint=error.hint) from error
    return cast("Roster", roster)


def _one_from_file(file: _OneRosterFile, predecessor: Roster | None) -> Roster:
    before = predecessor.digest.hex() if predecessor is not None else ""
    if file.predecessor != before:
        raise IdentityError(
            f"roster number {file.number} does not follow the one before it: its predecessor is another",
            hint="the file was edited, or its history was cut; ask for it again",
        )
    roster = Roster(
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
        predecessor=predecessor,
        lost=tuple(file.lost),
        countersignatures=tuple(map(parse_countersignature, file.countersignatures)),
    )
    if file.number != roster.number:
        raise IdentityError(f"number = {file.number}, but {roster.number - 1} rosters lie before it")
    return roster


def parse_countersignature(file: CountersignatureFile) -> Countersignature:
    """A countersignature as it was written, not yet verified."""
    try:
        signature = bytes.fromhex(file.signature)
    except ValueError as error:
        raise IdentityError(
            f"the countersignature of {file.name[:80]} is not written in hexadecimal digits"
        ) from error
    return Countersignature(check_name(file.name), parse_signing_key(file.signing_key), signature)


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
