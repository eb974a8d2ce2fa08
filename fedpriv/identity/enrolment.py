"""How a hospital gets into the roster: a request file with its public keys, signed by itself.

The signature shows that whoever made the request holds the private key and that no byte was changed on the
way by somebody who does not. That the request is the hospital's at all is settled by people: the admin
reads the fingerprint to the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from fedpriv.all_or_nothing import all_or_nothing
from fedpriv.errors import IdentityError
from fedpriv.identity.fingerprint import key_fingerprint, key_fingerprint_words
from fedpriv.identity.keys import Identity, check_link_key, check_name, new_identity, save
from fedpriv.identity.roster import Member, Operator, Roster, parse_signing_key
from fedpriv.identity.signing import BadSignature, sign, verify
from fedpriv.toml_files import dump_toml, parse_toml, read_toml, write_new_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

IDENTITY_FOLDER = "identity"

_LABEL = b"enrolment request"


@dataclass(frozen=True, slots=True)
class Request:
    """A hospital's wish to be enrolled; ``signature`` (64 bytes) is checked whenever one is made."""

    member: Member
    signature: bytes

    def __post_init__(self) -> None:
        try:
            verify(self.member.signing_key, _LABEL, _payload(self.member), self.signature)
        except BadSignature as error:
            raise IdentityError(
                f"the request of {self.member.name} was changed after it was signed",
                hint=f"ask {self.member.name} to send it again, and compare its fingerprint over the phone",
            ) from error

    @property
    def fingerprint(self) -> str:
        """What the admin reads to the operator over the phone, in digits."""
        return key_fingerprint(self.member.signing_key)

    @property
    def words(self) -> str:
        """The same in words."""
        return key_fingerprint_words(self.member.signing_key)


class _RequestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    signing_key: str
    link_key: str
    signature: str


def new_request(identity: Identity) -> Request:
    """The request of ``identity``; it holds public keys only."""
    member = Member.of(identity)
    return Request(member, sign(identity.signing_key, _LABEL, _payload(member)))


def request_path(name: str, home: Path) -> Path:
    """Where the request of ``name`` lies."""
    return home / f"{name}.request.toml"


def make_identity(name: str, home: Path) -> Request:
    """Fresh keys for ``name`` in ``home/identity``, and the file beside it that goes to the operator.

    Both or neither are written; IdentityError if one of them exists already.
    """
    identity = new_identity(name)
    request = new_request(identity)
    with all_or_nothing(home / IDENTITY_FOLDER):
        save(identity, home / IDENTITY_FOLDER)
        write_new_file(request_path(name, home), dump_request(request), IdentityError)
    return request


def dump_request(request: Request) -> str:
    """``request`` as TOML; parsing it gives an equal request."""
    member = request.member
    return dump_toml(
        _RequestFile(
            name=member.name,
            signing_key=member.signing_key.hex(),
            link_key=member.link_key.decode("ascii"),
            signature=request.signature.hex(),
        )
    )


def load_request(path: Path) -> Request:
    """The request in the file ``path``; IdentityError naming the file and what is wrong."""
    return _from_file(read_toml(path, _RequestFile, IdentityError), str(path))


def parse_request(text: str, source: str) -> Request:
    """The request in ``text``; ``source`` is the name of the file in messages."""
    return _from_file(parse_toml(text, source, _RequestFile, IdentityError), source)


def collect(federation: str, coordinator: Operator, requests: Iterable[Request]) -> Roster:
    """The first roster of ``federation``, with everybody who asked; IdentityError if two of them conflict."""
    return Roster(federation, coordinator, tuple(request.member for request in requests))


def succeed(
    before: Roster,
    coordinator: Operator,
    requests: Iterable[Request],
    *,
    leaves: Collection[str] = (),
    lost: Collection[str] = (),
) -> Roster:
    """The roster that follows ``before``: whoever asks comes in, or gets the keys of the request.

    ``leaves`` are taken out, ``lost`` are those whose old signing key cannot agree. IdentityError if a name
    is none, or `fedpriv.identity.succession` has a rule against it.
    """
    members = {member.name: member for member in before.hospitals}
    for name in set(leaves):
        before.member(name)
        del members[name]
    asked = [request.member for request in requests]
    if len({member.name for member in asked}) < len(asked):
        raise IdentityError("two requests are of one hospital", hint="give the newer one alone")
    for member in asked:
        if member.name in leaves:
            raise IdentityError(f"{member.name} cannot leave and ask in one step")
        members[member.name] = member
    return Roster(
        before.federation,
        coordinator,
        tuple(members.values()),
        predecessor=before,
        lost=tuple(sorted(lost)),
    )


def _from_file(file: _RequestFile, source: str) -> Request:
    try:
        member = Member(
            check_name(file.name),
            parse_signing_key(file.signing_key),
            check_link_key(file.link_key.encode()),
        )
        return Request(member, _parse_signature(file.signature))
    except IdentityError as error:
        raise IdentityError(f"{source}: {error.message}", hint=error.hint) from error


def _parse_signature(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise IdentityError("the signature is not written in hexadecimal digits") from error


def _payload(member: Member) -> bytes:
    return msgspec.msgpack.encode((member.name, member.signing_key, member.link_key))
