"""The operator's part of the ceremony: requests become a draft, countersignatures make it the roster.

A draft binds nobody. Sealing puts it into force at the coordinator, never while rounds are run: it is
effective from the next round on. Hospitals that have not pinned it by then refuse that round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import HomeError, IdentityError
from fedpriv.identity import keys, tls
from fedpriv.identity.countersigning import (
    load_countersignatures,
    load_countersigned,
    missing,
    with_countersignatures,
)
from fedpriv.identity.enrolment import collect, succeed
from fedpriv.identity.private_files import replace_private_folder
from fedpriv.identity.roster import Operator, Roster, dump_roster, load_roster
from fedpriv.identity.rotation import NEXT_FOLDER, adopt_next, own_countersignatures, own_identity
from fedpriv.toml_files import replace_file

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from fedpriv.coordinator.home import CoordinatorHome
    from fedpriv.identity.enrolment import Request


def draft(
    home: CoordinatorHome,
    requests: Sequence[Request],
    *,
    federation: str | None = None,
    leaves: Collection[str] = (),
    lost: Collection[str] = (),
) -> Roster:
    """Write the roster that follows the one in force, or the first one, as a draft in place of any other.

    Keys and certificates of the coordinator that were made for it come in by themselves.
    """
    operator = _next_operator(home)
    if home.roster_path.exists():
        before = load_countersigned(home.roster_path)
        if federation not in {None, before.federation}:
            raise IdentityError(f"the federation is {before.federation}, not {federation}")
        roster = succeed(before, operator, requests, leaves=leaves, lost=lost)
    elif federation is None:
        raise IdentityError("the first roster needs the name of the federation", hint="give --federation")
    elif leaves or lost:
        raise IdentityError("there is no roster yet that anybody could leave")
    else:
        roster = collect(federation, operator, requests)
    replace_file(home.draft_path, dump_roster(roster), IdentityError)
    return roster


def seal(home: CoordinatorHome, files: Sequence[Path], now: dt.datetime) -> Roster:
    """Put the draft into force, with the countersignatures in ``files`` and the coordinator's own.

    IdentityError if one is missing, wrong, or for another roster, or if the certificate authority has expired
    at ``now``; HomeError while rounds are run. Nothing is changed then. After a crash it can be repeated.
    """
    if not home.draft_path.exists():
        raise HomeError(f"{home.draft_path}: no draft", hint="`fedpriv keys enrol` makes one of requests")
    with home.one_command():
        wanted = load_roster(home.draft_path)
        if not _in_force(home, wanted):
            wanted = _complete(home, wanted, files, now)
            replace_file(home.roster_path, dump_roster(wanted), IdentityError)
        adopt_next(home.folder, own_identity(home.folder, wanted))
        if _authority_in(home.next_tls_folder) == wanted.coordinator.ca_certificate:
            replace_private_folder(home.tls_folder, home.next_tls_folder)
        home.draft_path.unlink()
    return home.roster()


def renew_certificate(
    home: CoordinatorHome, hosts: Sequence[str] = (), *, new_authority: bool = False
) -> tuple[str, ...]:
    """Issue a server certificate for ``hosts``, or for those of the old one; give them.

    With a new authority it waits in ``tls.next/`` until a roster that has it is sealed; otherwise it is used
    when the coordinator is started next. HomeError while rounds are run.
    """
    with home.one_command():
        old = (home.tls_folder / tls.SERVER_CERTIFICATE_FILE).read_bytes()
        names = tuple(dict.fromkeys([*(hosts or tls.server_hosts(old)), "127.0.0.1"]))
        name = home.identity().name
        if new_authority:
            if home.next_tls_folder.exists():
                raise HomeError(f"{home.next_tls_folder} exists already", hint="delete it to begin again")
            tls.save(tls.new_server_credentials(name, names), home.next_tls_folder)
        else:
            renewed = home.folder / "tls.renewed"
            authority = tls.load_authority(home.tls_folder)
            tls.save(tls.issue_server_credentials(authority, names), renewed)
            replace_private_folder(home.tls_folder, renewed)
    return names


def _complete(home: CoordinatorHome, wanted: Roster, files: Sequence[Path], now: dt.datetime) -> Roster:
    before = load_countersigned(home.roster_path) if home.roster_path.exists() else None
    if wanted.predecessor != before:
        raise IdentityError(
            f"{home.draft_path} does not follow the roster in force",
            hint="make the draft again with `fedpriv keys enrol`",
        )
    if wanted.coordinator != _next_operator(home):
        raise IdentityError(
            f"{home.draft_path} has other keys or certificates of the coordinator than {home.folder}",
            hint="make the draft again with `fedpriv keys enrol`",
        )
    tls.check_dates(
        wanted.coordinator.ca_certificate,
        "the certificate authority in the draft",
        now,
        fix="`fedpriv coordinator certificate --new-authority`, then `fedpriv keys enrol` again",
    )
    given = [entry for path in files for entry in load_countersignatures(path, wanted)]
    sealed = with_countersignatures(wanted, [*given, *own_countersignatures(home.folder, wanted)])
    if absent := missing(sealed):
        raise IdentityError(
            f"the draft is not countersigned by {', '.join(absent)}",
            hint=f"give the file that `fedpriv keys countersign` made of {home.draft_path} at each member",
        )
    return sealed


def _in_force(home: CoordinatorHome, wanted: Roster) -> bool:
    """Whether a crash came after the roster was written, and before the rest was done."""
    return home.roster_path.exists() and load_roster(home.roster_path).digest == wanted.digest


def _next_operator(home: CoordinatorHome) -> Operator:
    """The coordinator's entry in the roster to come."""
    following = home.folder / NEXT_FOLDER
    identity = keys.load(following) if following.exists() else home.identity()
    authority = _authority_in(home.next_tls_folder) or tls.load_authority(home.tls_folder).certificate_pem
    return Operator(identity.name, identity.signing_public_key, authority)


def _authority_in(folder: Path) -> str | None:
    return tls.load_authority(folder).certificate_pem if folder.exists() else None
