"""Who must agree to a roster before it takes effect: everybody in it, each with a signature of its digest.

*Rule*. A roster is in force once it carries the countersignature of the coordinator and of every hospital in
it, by their keys in it; and, where somebody's signing key was exchanged, one more by the old key. Only a key
that the roster itself names as lost is let off: then all others agree, over the same digest, that this key
ends without its own word. Who leaves is not asked.

So a coordinator cannot make two rosters for two hospitals and have both in force, nobody can add, take out or
exchange a member behind the others' backs, and a thief of one key can exchange that key alone, in everybody's
sight. What signatures cannot say is that the keys of the first roster, and of whoever joins, are those of the
hospitals: people read fingerprints to each other over the phone before they countersign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fedpriv.errors import IdentityError
from fedpriv.identity.roster import (
    Countersignature,
    CountersignatureFile,
    Roster,
    load_roster,
    parse_countersignature,
)
from fedpriv.identity.signing import BadSignature, sign, verify
from fedpriv.identity.succession import changed_keys, everyone
from fedpriv.toml_files import dump_toml, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fedpriv.identity.keys import Identity

_LABEL = b"roster countersignature"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    federation: str
    number: int
    roster: str
    countersignatures: list[CountersignatureFile]


def owed(roster: Roster) -> tuple[tuple[str, bytes], ...]:
    """Whose countersignature ``roster`` needs, and by which signing key; an old key comes second."""
    new = [(member.name, member.signing_key) for member in everyone(roster)]
    old = [(name, key) for name, key in changed_keys(roster).items() if name not in roster.lost]
    return tuple(sorted(new) + sorted(old))


def countersign(roster: Roster, identity: Identity) -> Countersignature:
    """The word of ``identity`` that it agrees to ``roster``; IdentityError if nobody waits for it."""
    signature = sign(identity.signing_key, _LABEL, roster.digest)
    return _checked(roster, Countersignature(identity.name, identity.signing_public_key, signature))


def with_countersignatures(roster: Roster, given: Iterable[Countersignature]) -> Roster:
    """``roster`` with those of ``given`` beside its own; IdentityError if one is not owed or does not fit."""
    by_key = {entry.signing_key: entry for entry in (*roster.countersignatures, *given)}
    listed = tuple(by_key[key] for _, key in owed(roster) if key in by_key)
    for entry in by_key.values():
        _checked(roster, entry)
    return Roster(
        roster.federation,
        roster.coordinator,
        roster.hospitals,
        predecessor=roster.predecessor,
        lost=roster.lost,
        countersignatures=listed,
    )


def missing(roster: Roster) -> tuple[str, ...]:
    """Whose countersignature is not there yet, such as "A" or "A (by the old key)"."""
    there = {entry.signing_key for entry in roster.countersignatures}
    old = set(changed_keys(roster).values())
    return tuple(
        f"{name} (by the old key)" if key in old else name for name, key in owed(roster) if key not in there
    )


def check_countersigned(roster: Roster) -> None:
    """Return only if ``roster``, and each one before it, is countersigned by all; IdentityError otherwise."""
    for one in roster.lineage:
        check_countersignatures(one)


def check_countersignatures(roster: Roster) -> None:
    """The same for ``roster`` alone, whatever was before it."""
    for entry in roster.countersignatures:
        _checked(roster, entry)
    if absent := missing(roster):
        raise IdentityError(
            f"roster number {roster.number} is not countersigned by {', '.join(absent)}: it is not in force",
            hint="each member runs `fedpriv keys countersign`, then the operator `fedpriv keys seal`",
        )


def load_countersigned(path: Path) -> Roster:
    """The roster in the file ``path``, which must be in force; IdentityError naming the file."""
    roster = load_roster(path)
    try:
        check_countersigned(roster)
    except IdentityError as error:
        raise IdentityError(f"{path}: {error.message}", hint=error.hint) from error
    return roster


def dump_countersignatures(roster: Roster, given: Iterable[Countersignature]) -> str:
    """What a member sends to the operator, as TOML."""
    return dump_toml(
        _File(
            federation=roster.federation,
            number=roster.number,
            roster=roster.digest.hex(),
            countersignatures=[
                CountersignatureFile(entry.name, entry.signing_key.hex(), entry.signature.hex())
                for entry in given
            ],
        )
    )


def load_countersignatures(path: Path, roster: Roster) -> tuple[Countersignature, ...]:
    """Those in the file ``path``, which must be for ``roster`` and right; IdentityError naming the file."""
    file = read_toml(path, _File, IdentityError)
    if file.roster != roster.digest.hex():
        raise IdentityError(
            f"{path}: it is for another roster than the draft",
            hint="the draft was changed since, or on its way: compare the fingerprints over the phone",
        )
    try:
        return tuple(_checked(roster, parse_countersignature(entry)) for entry in file.countersignatures)
    except IdentityError as error:
        raise IdentityError(f"{path}: {error.message}", hint=error.hint) from error


def _checked(roster: Roster, entry: Countersignature) -> Countersignature:
    if entry.name not in {name for name, _ in owed(roster)}:
        raise IdentityError(
            f"roster number {roster.number} has a countersignature of {entry.name}, who is not in it",
            hint="it was edited since, or on its way: compare its fingerprint over the phone",
        )
    if (entry.name, entry.signing_key) not in owed(roster):
        raise IdentityError(
            f"a countersignature says that it is {entry.name}'s, whose key in the roster is another",
            hint=f"only {entry.name} can countersign for {entry.name}; ask who made it",
        )
    try:
        verify(entry.signing_key, _LABEL, roster.digest, entry.signature)
    except BadSignature as error:
        raise IdentityError(
            f"roster number {roster.number} is not the one that {entry.name} countersigned",
            hint="it was edited since, or on its way: compare its fingerprint over the phone",
        ) from error
    return entry
