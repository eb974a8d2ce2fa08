"""Reading a bundle: the same evidence as from folders, once it is the one that the coordinator signed.

What cannot be read at all is a mistake (BundleError, IdentityError). What can be read and is wrong is a
failed claim, and reading goes on: an auditor is told everything that does not hold.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from fedpriv.audit.evidence import JournalEvidence, RunEvidence
from fedpriv.coordinator import bundle as written
from fedpriv.coordinator.archive import LARGEST_BYTES, MOST_ENTRIES, unpack
from fedpriv.coordinator.run_folder import parse_lines
from fedpriv.errors import BundleError, HomeError, IdentityError, JournalCorrupt, StudyError
from fedpriv.identity.keys import check_name
from fedpriv.identity.roster import Roster, parse_roster
from fedpriv.identity.signing import BadSignature
from fedpriv.model.folder import Card, parse_model
from fedpriv.node.export import open_export, parse_export
from fedpriv.study import parse_study

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.audit.claims import Claims
    from fedpriv.coordinator.run_folder import Line
    from fedpriv.study import Study

_LARGEST_FILE = LARGEST_BYTES + 1024 * MOST_ENTRIES  # headers and directory included
_NEEDED = (written.CONTENTS, written.ROSTER, written.ROUNDS, written.STUDY)
_MODEL = (written.CARD, written.VECTOR)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds. ``sha256`` (hex) is of the whole file.

    ``run`` is None if its record cannot be read. ``roster`` is the bundle's own: whether it is the one that
    the hospitals pinned, its fingerprint tells.
    """

    sha256: str
    contents: written.Contents
    roster: Roster
    run: RunEvidence | None
    journals: tuple[JournalEvidence, ...]


def read_bundle(claims: Claims, path: Path) -> Bundle:
    """The bundle in the file ``path``; BundleError or IdentityError if there is none to judge."""
    content = _content(path)
    entries = unpack(content, str(path))
    _check_entries(entries, path)
    contents = _contents(entries[written.CONTENTS], path)
    roster = parse_roster(_text(entries, written.ROSTER, path), f"{path}: {written.ROSTER}")
    _verify_contents(claims, contents, entries, roster)
    return Bundle(
        sha256=hashlib.sha256(content).hexdigest(),
        contents=contents,
        roster=roster,
        run=_run(claims, contents, entries, path),
        journals=tuple(_journals(claims, contents, entries, roster)),
    )


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise BundleError(f"{path}: no such file", hint="name the bundle.zip of a run")
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise BundleError(f"{path}: {size} bytes, no bundle is larger than {_LARGEST_FILE}")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {(error.strerror or '').lower()}") from error


def _check_entries(entries: dict[str, bytes], path: Path) -> None:
    for entry in _NEEDED:
        if entry not in entries:
            raise BundleError(f"{path}: holds no {entry}: not a bundle")
    for entry in entries:
        if entry not in {*_NEEDED, *_MODEL} and _hospital_of(entry) is None:
            raise BundleError(f"{path}: holds {entry}, which no bundle has")


def _hospital_of(entry: str) -> str | None:
    """Whose journal an entry is, None if it is no journal."""
    name = entry.removeprefix(written.JOURNALS).removesuffix(".json")
    try:
        return check_name(name) if entry == written.journal_entry(name) else None
    except IdentityError:
        return None


def _contents(content: bytes, path: Path) -> written.Contents:
    try:
        contents = msgspec.json.decode(content, type=written.Contents)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path}: {written.CONTENTS}: {error}") from error
    if contents.format != written.FORMAT:
        raise BundleError(
            f"{path}: a {contents.format[:80]!r}; this is fedpriv for {written.FORMAT!r}",
            hint="use the version of fedpriv that wrote it",
        )
    if contents.encoded() != content:
        raise BundleError(f"{path}: {written.CONTENTS} was edited: it has one spelling, and this is another")
    return contents


def _verify_contents(
    claims: Claims, contents: written.Contents, entries: dict[str, bytes], roster: Roster
) -> None:
    try:
        contents.verify(roster.coordinator.signing_key)
    except BadSignature:
        signed = False
    else:
        signed = True
    claims.hold(written.CONTENTS, f"not signed by {roster.coordinator.name}, the coordinator", given=signed)
    listed = dict(contents.sha256)
    for entry, content in entries.items():
        if entry == written.CONTENTS:
            continue
        digest = hashlib.sha256(content).hexdigest()
        claims.hold(
            entry, "not what the coordinator signed the contents for", given=listed.pop(entry, "") == digest
        )
    for entry in listed:
        claims.hold(entry, "it is in the signed contents and not in the bundle", given=False)
    claims.hold(
        written.CONTENTS,
        "its entries are not in order",
        given=list(entries) == [written.CONTENTS, *sorted(set(entries) - {written.CONTENTS})],
    )


def _run(
    claims: Claims, contents: written.Contents, entries: dict[str, bytes], path: Path
) -> RunEvidence | None:
    study = _study(claims, entries, path)
    lines = _lines(claims, entries)
    card = _card(claims, entries)
    if study is None or lines is None:
        return None
    return RunEvidence(bytes.fromhex(contents.run), study, lines, card)


def _study(claims: Claims, entries: dict[str, bytes], path: Path) -> Study | None:
    try:
        return parse_study(_text(entries, written.STUDY, path), written.STUDY)
    except (StudyError, BundleError) as error:
        claims.hold("study", error.message, given=False)
        return None


def _lines(claims: Claims, entries: dict[str, bytes]) -> tuple[Line, ...] | None:
    content = entries[written.ROUNDS]
    try:
        lines = parse_lines(content, written.ROUNDS)
    except HomeError as error:
        claims.hold("run", error.message, given=False)
        return None
    whole = content.endswith(b"\n") or not content
    claims.hold("run", f"{written.ROUNDS} ends in the middle of a line", given=whole)
    return tuple(lines)


def _card(claims: Claims, entries: dict[str, bytes]) -> Card | None:
    given = [entry for entry in _MODEL if entry in entries]
    if not claims.hold("model", f"only {', '.join(given)} is there", given=len(given) != 1) or not given:
        return None
    try:
        return parse_model(entries[written.CARD], entries[written.VECTOR], written.CARD, written.VECTOR).card
    except HomeError as error:
        claims.hold("model", error.message, given=False)
        return None


def _journals(
    claims: Claims, contents: written.Contents, entries: dict[str, bytes], roster: Roster
) -> list[JournalEvidence]:
    journals = []
    for entry, content in entries.items():
        name = _hospital_of(entry)
        if name is None:
            continue
        place = f"journal of {name}"
        try:
            export = parse_export(content, entry)
            opened = open_export(export, *roster.signing_keys_of(name))
        except (HomeError, IdentityError, JournalCorrupt) as error:
            claims.hold(place, error.message, given=False)
            continue
        claims.checked += len(opened.heads)
        claims.hold(place, f"it is the journal of {opened.hospital}", given=opened.hospital == name)
        claims.hold(place, "it was exported for another run", given=opened.run.hex() == contents.run)
        journals.append(JournalEvidence(name, opened.rows, opened.heads, opened.closed))
    return journals


def _text(entries: dict[str, bytes], entry: str, path: Path) -> str:
    try:
        return entries[entry].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: {entry} is not UTF-8 text") from error
