"""Which images there are: a folder of class folders, or a folder with a ``manifest.csv``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fedpriv.errors import ImageError
from fedpriv.smears.manifest import MANIFEST_NAME, Entry, Split, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True, slots=True)
class Index:
    """The images of a folder, in a fixed order; ``classes`` is the study's order of the labels."""

    folder: Path
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]

    def locate(self, entry: Entry) -> Path:
        """Where the file of ``entry`` lies."""
        return self.folder / entry.path

    def select(self, *, hospital: str | None = None, split: Split | None = None) -> Index:
        """The images of one hospital, of one split, or both; no image at all is an `ImageError`."""
        kept = tuple(
            entry
            for entry in self.entries
            if (hospital is None or entry.hospital == hospital) and (split is None or entry.split is split)
        )
        if not kept:
            wanted = " and ".join(
                f"{name} {value}" for name, value in (("hospital", hospital), ("split", split)) if value
            )
            raise ImageError(
                f"{self.folder}: no image of {wanted or 'any hospital'}",
                hint=f"the columns hospital and split of its {MANIFEST_NAME} say where images belong",
            )
        return replace(self, entries=kept)


def index_images(folder: Path, classes: Sequence[str]) -> Index:
    """Index ``folder`` by its ``manifest.csv`` if it has one, else by its class folders.

    Raises:
        ImageError: no such folder, one that cannot be read, no image, a class without one, or what
            `read_manifest` raises; without a manifest also a missing class folder, or a folder that is none
            of the classes.

    """
    try:
        if not folder.is_dir():
            raise ImageError(f"{folder}: no such folder of images")
        if (folder / MANIFEST_NAME).exists():
            entries = read_manifest(folder, classes)
        else:
            entries = list(_walk_class_folders(folder, classes))
    except OSError as error:
        raise ImageError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not entries:
        raise ImageError(f"{folder}: no images")
    labels = {entry.label for entry in entries}
    for label in classes:
        if label not in labels:
            raise ImageError(f"{folder}: class {label} has no image")
    return Index(folder, tuple(classes), tuple(entries))


def with_digests(index: Index) -> Index:
    """The same index with the ``sha256`` of every file as it lies on the disk now."""
    entries = []
    for entry in index.entries:
        try:
            with index.locate(entry).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(f"{index.locate(entry)}: cannot be read ({error.strerror})") from error
        entries.append(replace(entry, sha256=digest))
    return replace(index, entries=tuple(entries))


def _walk_class_folders(folder: Path, classes: Sequence[str]) -> Iterator[Entry]:
    """One folder a class with image files directly inside; other suffixes and hidden names are ignored.

    A folder that is no class is refused, so that a mistyped name does not quietly lose its images.
    """
    for found in sorted(folder.iterdir()):
        if found.is_dir() and not found.name.startswith(".") and found.name not in classes:
            raise ImageError(
                f"{found}: is none of the classes {', '.join(classes)}",
                hint=f"rename it, move it elsewhere, or list the images in a {MANIFEST_NAME}",
            )
    for label in classes:
        if not (folder / label).is_dir():
            raise ImageError(f"{folder}: no folder {label}", hint="every class of the study needs one")
        for found in sorted((folder / label).iterdir()):
            if found.name.startswith("."):
                continue
            if found.is_dir():
                raise ImageError(
                    f"{found}: a folder inside a class folder",
                    hint=f"put its images directly into {label}, or list them in a {MANIFEST_NAME}",
                )
            if found.suffix.lower() in IMAGE_SUFFIXES:
                yield Entry(PurePosixPath(label, found.name), label)
