"""Which images there are: a folder of class folders, or a folder with a ``manifest.csv``.

A manifest has a header and one row an image. ``file`` (a path below the folder, with ``/``) and ``label``
are required; ``group``, ``slide``, ``hospital``, ``split``, ``sha256`` and ``patient_id`` may be missing
or empty. Any other column is refused: a mistyped ``patientid`` must not quietly turn a promise to
patients into a promise to images.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fedpriv.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MANIFEST_NAME = "manifest.csv"
MANIFEST_COLUMNS = ("file", "label", "group", "slide", "hospital", "split", "sha256", "patient_id")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})


class Split(StrEnum):
    """Which half of a split an image lies in; an image may lie in neither."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Entry:
    """One image and what is known about where it comes from; ``path`` lies below the index's folder."""

    path: PurePosixPath
    label: str
    hospital: str | None = None
    split: Split | None = None
    patient: str | None = None
    slide: str | None = None
    group: str | None = None
    sha256: str | None = None

    @property
    def source(self) -> str | None:
        """Whom the image shows: the patient, or the slide that stands in where no patient is recorded."""
        return self.patient or self.slide


@dataclass(frozen=True, slots=True)
class Index:
    """The images of a folder, in a fixed order."""

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
            if (hospital is None or entry.hospital == hospital) and (split is None or entry.split == split)
        )
        if not kept:
            wanted = " and ".join(
                f"{column} {value}" for column, value in (("hospital", hospital), ("split", split)) if value
            )
            raise ImageError(
                f"{self.folder}: no image of {wanted}", hint=f"see the columns of {MANIFEST_NAME}"
            )
        return Index(self.folder, self.classes, kept)


def index_images(folder: Path, classes: tuple[str, ...]) -> Index:
    """Index ``folder`` by its ``manifest.csv`` if it has one, else by its class folders.

    Raises:
        ImageError: no such folder, or what `index_manifest` and `index_folder` raise.

    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder of images")
    if (folder / MANIFEST_NAME).exists():
        return index_manifest(folder, classes)
    return index_folder(folder, classes)


def index_folder(folder: Path, classes: tuple[str, ...]) -> Index:
    """Index the class folders of ``folder``: one folder a class, image files directly inside.

    Files without an image suffix and hidden files are ignored. Folders that are no class are refused, so
    that a mistyped name does not quietly lose its images.

    Raises:
        ImageError: a class folder is missing or has no image; a folder is none of the classes.

    """
    for found in sorted(folder.iterdir()):
        if found.is_dir() and not found.name.startswith(".") and found.name not in classes:
            raise ImageError(
                f"{found}: is none of the classes {', '.join(classes)}",
                hint=f"rename it, move it elsewhere, or list the images in a {MANIFEST_NAME}",
            )
    entries = [entry for label in classes for entry in _index_class(folder, label)]
    return _complete(folder, classes, entries)


def _index_class(folder: Path, label: str) -> Iterable[Entry]:
    class_folder = folder / label
    if not class_folder.is_dir():
        raise ImageError(
            f"{folder}: no folder {label}", hint="each class of the study needs one, named exactly so"
        )
    for found in sorted(class_folder.iterdir()):
        if found.name.startswith("."):
            continue
        if found.is_dir():
            raise ImageError(
                f"{found}: a folder inside a class folder",
                hint=f"put the images directly into {label}, or list them in a {MANIFEST_NAME}",
            )
        if found.suffix.lower() in IMAGE_SUFFIXES:
            yield Entry(PurePosixPath(label, found.name), label)


def index_manifest(folder: Path, classes: tuple[str, ...]) -> Index:
    """Index the rows of ``folder / "manifest.csv"``, in their order.

    Raises:
        ImageError: naming the row (the header is row 1): an unknown or missing column, an unknown label or
            split, a file that is missing, listed twice or outside the folder; or a class without a row.

    """
    manifest = folder / MANIFEST_NAME
    root = folder.resolve()
    entries: list[Entry] = []
    row_of: dict[PurePosixPath, int] = {}
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_header(manifest, reader.fieldnames or ())
            for row in reader:
                where = f"{manifest}, row {reader.line_num}"
                entry = _parse_row(row, classes, where)
                if entry.path in row_of:
                    raise ImageError(f"{where}: {entry.path} is listed in row {row_of[entry.path]} already")
                _check_file(root, entry.path, where)
                row_of[entry.path] = reader.line_num
                entries.append(entry)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{manifest}: cannot be read as a CSV file in UTF-8 ({error})") from error
    return _complete(folder, classes, entries)


def _check_header(manifest: Path, columns: Iterable[str]) -> None:
    names = list(columns)
    for name in ("file", "label"):
        if name not in names:
            raise ImageError(
                f"{manifest}: no column {name}", hint=f"columns are {', '.join(MANIFEST_COLUMNS)}"
            )
    for name in names:
        if name not in MANIFEST_COLUMNS or names.count(name) > 1:
            raise ImageError(
                f"{manifest}: column {name!r} is unknown or repeated",
                hint=f"columns are {', '.join(MANIFEST_COLUMNS)}",
            )


def _parse_row(row: Mapping[str | None, str | None], classes: tuple[str, ...], where: str) -> Entry:
    if None in row or None in row.values():
        raise ImageError(f"{where}: not as many values as the header has columns")
    label = row["label"] or ""
    if label not in classes:
        raise ImageError(f"{where}: label {label!r} is none of {', '.join(classes)}")
    split = row.get("split") or None
    if split is not None and split not in tuple(Split):
        raise ImageError(f"{where}: split {split!r} is neither train nor test", hint="or leave it empty")
    file = row["file"] or ""
    path = PurePosixPath(file)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in file:
        raise ImageError(
            f"{where}: {file!r} is not a path below the folder", hint="write it like Benign/001.jpg"
        )
    return Entry(
        path=path,
        label=label,
        hospital=row.get("hospital") or None,
        split=None if split is None else Split(split),
        patient=row.get("patient_id") or None,
        slide=row.get("slide") or None,
        group=row.get("group") or None,
        sha256=row.get("sha256") or None,
    )


def _check_file(root: Path, path: PurePosixPath, where: str) -> None:
    found = (root / path).resolve()
    if not found.is_relative_to(root):
        raise ImageError(f"{where}: {path} is a link to outside the folder")
    if not found.is_file():
        raise ImageError(f"{where}: no such file {path}")


def _complete(folder: Path, classes: tuple[str, ...], entries: list[Entry]) -> Index:
    if not entries:
        raise ImageError(f"{folder}: no images")
    present = {entry.label for entry in entries}
    for label in classes:
        if label not in present:
            raise ImageError(f"{folder}: class {label} has no image")
    return Index(folder, classes, tuple(entries))
