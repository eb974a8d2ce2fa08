"""What may be different in a roster that follows another, and saying it to the people who must agree.

*Rules*. The federation stays the same. A key that was taken out never comes back, for anybody: Flower could
not let it in again, and a key that was stolen must not return. Only a signing key that was exchanged can be
named as lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import IdentityError

if TYPE_CHECKING:
    from fedpriv.identity.roster import Member, Operator, Roster


def everyone(roster: Roster) -> tuple[Operator | Member, ...]:
    """The coordinator, then the hospitals by name."""
    return (roster.coordinator, *roster.hospitals)


def changed_keys(roster: Roster) -> dict[str, bytes]:
    """The old signing key (32 bytes) of each name that was there before with another one."""
    if roster.predecessor is None:
        return {}
    now = {member.name: member.signing_key for member in everyone(roster)}
    return {
        member.name: member.signing_key
        for member in everyone(roster.predecessor)
        if now.get(member.name, member.signing_key) != member.signing_key
    }


def changes(roster: Roster) -> tuple[str, ...]:
    """What is different from the roster before, a line each; empty for the first one."""
    if roster.predecessor is None:
        return ()
    before, now = _entries(roster.predecessor), _entries(roster)
    lines = []
    for (what, name), key in sorted(now.items()):
        old = before.get((what, name))
        if what == "signing key" and old is None:
            lines.append(f"{name} joins")
        elif what == "signing key" and name in roster.lost:
            lines.append(f"{name} has a new signing key, and LOST the old one")
        elif old is not None and old != key:
            lines.append(f"{name} has a new {what}")
    lines += [f"{name} leaves" for what, name in before if what == "signing key" and (what, name) not in now]
    return tuple(lines)


def check_succession(roster: Roster) -> None:
    """Return only if ``roster`` may follow its predecessor, if it has one; IdentityError names the rule."""
    before = roster.predecessor
    changed = changed_keys(roster)
    for name in roster.lost:
        if name not in changed:
            raise IdentityError(f"{name} is named among the lost keys, and has no other key than before")
    if list(roster.lost) != sorted(set(roster.lost)):
        raise IdentityError("the names of lost keys are not sorted, or one is there twice")
    if before is None:
        return
    if roster.federation != before.federation:
        raise IdentityError(f"the roster of {roster.federation} follows one of {before.federation}")
    now, last = _entries(roster), _entries(before)
    if now == last:
        raise IdentityError(f"nothing is different from roster number {before.number}")
    known = {key for earlier in before.lineage for key in _entries(earlier).values()}
    for (what, name), key in now.items():
        if key in known and last.get((what, name)) != key:
            raise IdentityError(
                f"the {what} of {name} was in an earlier roster already: no key ever comes back",
                hint=f"{name} makes new ones: `fedpriv keys rotate`, or `fedpriv keys new` in a new home",
            )


def _entries(roster: Roster) -> dict[tuple[str, str], bytes]:
    """Every key in the roster, by what it is and whose."""
    operator = roster.coordinator
    return {
        ("certificate authority", operator.name): operator.ca_certificate.encode(),
        **{("signing key", member.name): member.signing_key for member in everyone(roster)},
        **{("link key", member.name): member.link_key for member in roster.hospitals},
    }
