"""New keys for somebody who is in the roster already: made beside the old ones, used once it has them.

identity/        the keys of the roster that is in force
identity.next/   those of the one to come; they take the place of the old ones when it is pinned or sealed

Until then the old keys work on, and afterwards they are deleted: their last act is to countersign the roster
that ends them. Where they are lost, the operator names that in the roster, and all others agree to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedpriv.errors import IdentityError
from fedpriv.identity import keys
from fedpriv.identity.countersigning import countersign, owed
from fedpriv.identity.enrolment import IDENTITY_FOLDER, dump_request, new_request, request_path
from fedpriv.identity.private_files import replace_private_folder
from fedpriv.toml_files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.identity.enrolment import Request
    from fedpriv.identity.keys import Identity
    from fedpriv.identity.roster import Countersignature, Roster

NEXT_FOLDER = "identity.next"


def rotate(home: Path, *, link_only: bool = False, lost: str | None = None) -> Request:
    """Make the next keys of ``home``, and the request that goes to the operator in place of the old one.

    ``link_only`` keeps the signing key. ``lost`` is the name of a member whose keys are gone. IdentityError
    if next keys are there already, or if keys that are called lost are not.
    """
    following = _next_of(_current_of(home, lost), lost, link_only=link_only)
    if (home / NEXT_FOLDER).exists():
        raise IdentityError(
            f"{home / NEXT_FOLDER} exists already: a rotation is under way",
            hint="send its request to the operator; or delete the folder to begin again",
        )
    keys.save(following, home / NEXT_FOLDER)
    request = new_request(following)
    replace_file(request_path(following.name, home), dump_request(request), IdentityError)
    return request


def own_identity(home: Path, roster: Roster) -> Identity:
    """The identity of ``home`` that ``roster`` has, the next one or the current one.

    IdentityError if the roster has other keys under our name, or does not have us at all.
    """
    known = _identities(home)
    name = known[0].name
    if name == roster.coordinator.name:
        found = [one for one in known if one.signing_public_key == roster.coordinator.signing_key]
    else:
        member = roster.member(name)
        found = [
            one
            for one in known
            if (one.signing_public_key, one.link_public_key) == (member.signing_key, member.link_key)
        ]
    if not found:
        raise IdentityError(
            f"the roster has another key for {name} than {home / IDENTITY_FOLDER}",
            hint="somebody changed your request: do not accept this roster, call the operator",
        )
    return found[0]


def own_countersignatures(home: Path, roster: Roster) -> tuple[Countersignature, ...]:
    """All that ``roster`` needs of the member in ``home``: by its key there, and by the old one if it ends.

    IdentityError as `own_identity`.
    """
    own_identity(home, roster)
    wanted = owed(roster)
    by_key = {one.signing_public_key: one for one in _identities(home)}
    return tuple(countersign(roster, one) for key, one in by_key.items() if (one.name, key) in wanted)


def adopt_next(home: Path, identity: Identity) -> None:
    """Put the next keys in the place of the current ones, and delete these, if ``identity`` is the next."""
    following = home / NEXT_FOLDER
    if following.exists() and _same(keys.load(following), identity):
        replace_private_folder(home / IDENTITY_FOLDER, following)


def current_identity(home: Path) -> Identity | None:
    """The keys in use; None if there are none, because they were lost."""
    return keys.load(home / IDENTITY_FOLDER) if (home / IDENTITY_FOLDER).exists() else None


def _current_of(home: Path, lost: str | None) -> Identity | None:
    if lost is None:
        return keys.load(home / IDENTITY_FOLDER)
    if (home / IDENTITY_FOLDER).exists():
        raise IdentityError(
            f"{home / IDENTITY_FOLDER} exists: its keys can agree to their own end, also if they were stolen",
            hint="rotate without --lost; if the folder is damaged, move it away first",
        )
    return None


def _next_of(current: Identity | None, lost: str | None, *, link_only: bool) -> Identity:
    if current is None:
        return keys.new_identity(lost or "")
    fresh = keys.new_identity(current.name)
    return replace(fresh, signing_key=current.signing_key) if link_only else fresh


def _identities(home: Path) -> list[Identity]:
    """The next keys, if there are any, then the current ones."""
    following = home / NEXT_FOLDER
    found = [keys.load(following)] if following.exists() else []
    current = current_identity(home) if found else keys.load(home / IDENTITY_FOLDER)
    return found + ([current] if current is not None else [])


def _same(one: Identity, other: Identity) -> bool:
    return (one.signing_public_key, one.link_public_key) == (other.signing_public_key, other.link_public_key)
