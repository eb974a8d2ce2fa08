"""Pinning a roster: from then on it alone says who is in the federation, and no older one is taken.

The journal remembers what was pinned, so a ``roster.toml`` that was exchanged, or put back from a backup, is
found. Pinning writes the journal, so it is refused while ``fedpriv node start`` runs: never within a round.
If the roster has new keys of ours, they come into use here, and the journal goes on under them with all that
was spent: a new key is no new budget.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fedpriv.errors import HomeError, IdentityError, JournalCorrupt
from fedpriv.identity import tls
from fedpriv.identity.countersigning import check_countersigned
from fedpriv.identity.roster import dump_roster
from fedpriv.identity.rotation import adopt_next, current_identity, own_identity
from fedpriv.node.events import Pin
from fedpriv.node.journal import Journal, change_key, last_key, read_journal
from fedpriv.toml_files import replace_file

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    from fedpriv.identity.keys import Identity
    from fedpriv.identity.roster import Roster
    from fedpriv.node.chain import Row

ROSTER_FILE = "roster.toml"


def pin(home: Path, roster: Roster, now: dt.datetime) -> None:
    """Trust ``roster`` from now on, in the hospital's ``home``, and use the keys that it has for us.

    IdentityError if it is not in force, its certificate authority has expired at ``now``, it does not have
    our keys, or does not follow the roster that was pinned before. HomeError while a node runs here,
    JournalCorrupt if the journal does not verify. Nothing is changed then. After a crash it can be repeated.
    """
    check_countersigned(roster)
    check_authority(roster, now)
    identity = own_identity(home, roster)
    ends_in = _journal_key(home, roster, identity)
    _check_follows(roster, read_journal(home, ends_in))
    if ends_in != identity.signing_public_key:
        old = current_identity(home)
        consents = old is not None and old.signing_public_key == ends_in
        change_key(home, identity, ends_in, old.signing_key if old is not None and consents else None)
    with Journal(home, identity) as journal:
        if last_pin(journal.rows) != _pin_of(roster):
            journal.append(_pin_of(roster))
        replace_file(home / ROSTER_FILE, dump_roster(roster), IdentityError)
        adopt_next(home, identity)


def check_authority(roster: Roster, now: dt.datetime) -> None:
    """Return only if the certificate authority in ``roster`` is valid at ``now``; IdentityError otherwise."""
    tls.check_dates(
        roster.coordinator.ca_certificate,
        f"the certificate authority in the roster of {roster.federation}",
        now,
        fix="the operator runs `fedpriv coordinator certificate --new-authority` and enrols anew",
    )


def check_pinned(roster: Roster, rows: Sequence[Row], path: Path) -> None:
    """Return only if ``roster``, from ``path``, is the one that was pinned last; HomeError otherwise."""
    last = last_pin(rows)
    if last is None:
        raise HomeError(
            f"{path} was never pinned here",
            hint="compare its fingerprint over the phone, then `fedpriv keys roster FILE --pin`",
        )
    if last != _pin_of(roster):
        raise HomeError(
            f"{path} was exchanged: it is number {roster.number} of {roster.federation}, and not the one "
            f"that was pinned here last, number {last.number} of {last.federation}",
            hint="pin the newest one, `fedpriv keys roster FILE --pin`; and find out who changed the file",
        )


def last_pin(rows: Sequence[Row], federation: str | None = None) -> Pin | None:
    """The roster that was pinned last, of ``federation`` if one is given; None if none was."""
    pins = (row.event for row in reversed(rows) if isinstance(row.event, Pin))
    return next((pin for pin in pins if federation in {None, pin.federation}), None)


def _pin_of(roster: Roster) -> Pin:
    return Pin(roster.federation, roster.number, roster.digest)


def _check_follows(roster: Roster, rows: Sequence[Row]) -> None:
    last = last_pin(rows, roster.federation)
    if last is None:
        return
    if roster.number < last.number:
        raise IdentityError(
            f"roster number {roster.number} is older than number {last.number}, which is pinned here",
            hint="ask the operator for the newest one",
        )
    pinned = roster.at(last.roster_digest)
    if pinned is None or pinned.number != last.number:
        raise IdentityError(
            f"roster number {roster.number} does not follow number {last.number}, which is pinned here",
            hint="somebody made another history: do not pin it, call the other hospitals",
        )


def _journal_key(home: Path, roster: Roster, identity: Identity) -> bytes:
    """The public key that the journal of ``home`` ends in; ours, if there is no journal yet.

    It is the one of the last change, else that of the keys in use; where these are lost, one of those that
    the roster's history has under our name.
    """
    changed = last_key(home)
    if changed is not None:
        return changed
    current = current_identity(home)
    if current is not None:
        return current.signing_public_key
    before = [key for key in roster.signing_keys_of(identity.name) if key != identity.signing_public_key]
    for key in before:
        with contextlib.suppress(JournalCorrupt):
            read_journal(home, key)
            return key
    return before[0] if before else identity.signing_public_key
