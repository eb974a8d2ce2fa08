"""What is wrong with a folder of images before anybody trains on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.smears.index import Index, with_digests
from fedpriv.smears.load import inspect_images

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from fedpriv.smears.load import Inspection
    from fedpriv.smears.manifest import Entry


@dataclass(frozen=True, slots=True)
class Count:
    """The images of one class in one split of one hospital, and from how many patients or slides."""

    hospital: str | None
    split: str | None
    label: str
    images: int
    sources: int | None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """``counts`` describe; everything else is a finding, and there should be none.

    ``bad``: images that cannot be used, and why. ``changed``: files whose digest is not the manifest's.
    The rest lie on both sides of the split: ``duplicates`` (equal pixels, as lists of paths), ``groups`` of
    nearly equal fields, and ``patients``.
    """

    counts: tuple[Count, ...]
    bad: tuple[str, ...]
    changed: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...]
    patients: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.bad or self.changed or self.duplicates or self.groups or self.patients)


def check_images(index: Index, on_progress: Callable[[int], None] | None = None) -> CheckReport:
    """Decode and hash every image of ``index``; ``on_progress`` gets the number decoded so far."""
    return report_on(index, inspect_images(index, on_progress))


def report_on(index: Index, inspection: Inspection) -> CheckReport:
    """What `check_images` says, of an index that was decoded already; hashes every file."""
    on_disk = with_digests(index).entries
    content_of = {
        entry: None if picture is None else picture.content
        for entry, picture in zip(index.entries, inspection.pictures, strict=True)
    }
    return CheckReport(
        counts=_count(index.entries),
        bad=inspection.bad,
        changed=tuple(
            str(listed.path)
            for listed, found in zip(index.entries, on_disk, strict=True)
            if listed.sha256 is not None and listed.sha256.lower() != found.sha256
        ),
        duplicates=tuple(
            tuple(str(entry.path) for entry in entries) for entries in _on_both_sides(content_of).values()
        ),
        groups=_names_on_both_sides({entry: entry.group for entry in index.entries}),
        patients=_names_on_both_sides({entry: entry.patient for entry in index.entries}),
    )


def _count(entries: tuple[Entry, ...]) -> tuple[Count, ...]:
    images: Counter[tuple[str | None, str | None, str]] = Counter()
    sources: dict[tuple[str | None, str | None, str], set[str | None]] = defaultdict(set)
    for entry in entries:
        cell = entry.hospital, entry.split, entry.label
        images[cell] += 1
        sources[cell].add(entry.source)
    return tuple(
        Count(*cell, images[cell], None if None in sources[cell] else len(sources[cell]))
        for cell in sorted(images, key=lambda cell: (cell[0] or "", cell[1] or "", cell[2]))
    )


def _names_on_both_sides(name_of: dict[Entry, str | None]) -> tuple[str, ...]:
    keys: dict[Entry, Hashable | None] = {
        entry: None if name is None else (entry.hospital or "", name) for entry, name in name_of.items()
    }
    crossing = _on_both_sides(keys).values()
    return tuple(sorted(str(name_of[entries[0]]) for entries in crossing))


def _on_both_sides(key_of: Mapping[Entry, Hashable | None]) -> dict[Hashable, list[Entry]]:
    """Entries that share a key other than None and lie in more than one split."""
    sharing: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry, key in key_of.items():
        if key is not None and entry.split is not None:
            sharing[key].append(entry)
    return {key: entries for key, entries in sharing.items() if len({entry.split for entry in entries}) > 1}
