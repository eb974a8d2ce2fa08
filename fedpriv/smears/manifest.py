"""The manifest of a folder of images: ``manifest.csv``, a header and one row an image.

``file`` (a path below the folder, with ``/``) and ``label`` are required; ``group``, ``slide``,
``hospital``, ``split``, ``sha256`` and ``patient_id`` may be missing or empty. Any other column is
refused: a mistyped ``patientid`` must not quietly turn a promise to patients into one to images.
"""

from __future__ import annotations

import csv
import io
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fedpriv.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MANIFEST_NAME = "manifest.csv"
COLUMNS = ("file", "label", "group", "slide", "hospital", "split", "sha256", "patient_id")


class Split(StrEnum):
    """Which part of a split an image lies in; an image may lie in neither."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Entry:
    """One image and what is known about where it comes from.

    ``path`` lies below the folder of the manifest; ``group`` is shared by nearly equal images; ``sha256``
    is the hexadecimal digest of the file.
    """

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

    @property
    def person(self) -> tuple[str, str] | None:
        """The source within its hospital, or None: two hospitals may both number their patients from 1."""
        return None if self.source is None else (self.hospital or "", self.source)


def read_manifest(folder: Path, classes: Sequence[str]) -> list[Entry]:
    """The rows of ``folder / "manifest.csv"``, in their order.

    Raises:
        ImageError: naming the line (the header is line 1): an unknown or missing column, an unknown label
            or split, a file that is missing, listed twice or outside the folder.

    """
    manifest = folder / MANIFEST_NAME
    root = folder.resolve()
    line_of: dict[PurePosixPath, int] = {}
    entries: list[Entry] = []
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_columns(manifest, reader.fieldnames or ())
            for row in reader:
                where = f"{manifest}, row {reader.line_num}"
                entry = _parse_row(row, classes, where)
                if entry.path in line_of:
                    raise ImageError(f"{where}: {entry.path} is listed in row {line_of[entry.path]} already")
                _check_file(root, entry.path, where)
                line_of[entry.path] = reader.line_num
                entries.append(entry)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{manifest}: cannot be read as a CSV file in UTF-8 ({error})") from error
    return entries


def write_manifest(path: Path, entries: Iterable[Entry]) -> None:
    """Write all columns of ``entries`` to ``path``, at once or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow(
            (
                entry.path,
                entry.label,
                entry.group,
                entry.slide,
                entry.hospital,
                entry.split,
                entry.sha256,
                entry.patient,
            ),
        )
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            draft = Path(scratch) / path.name
            draft.write_text(text.getvalue(), encoding="utf-8")
            draft.replace(path)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror})") from error
    except UnicodeEncodeError as error:
        raise ImageError(f"{path}: a file name is not text and cannot be listed") from error


def _check_columns(manifest: Path, columns: Sequence[str]) -> None:
    hint = f"columns are {', '.join(COLUMNS)}"
    for name in ("file", "label"):
        if name not in columns:
            raise ImageError(f"{manifest}: no column {name}", hint=hint)
    for name in columns:
        if name not in COLUMNS or columns.count(name) > 1:
            raise ImageError(f"{manifest}: column {name!r} is unknown or repeated", hint=hint)


def _parse_row(row: Mapping[str | None, str | None], classes: Sequence[str], where: str) -> Entry:
    if None in row or None in row.values():
        raise ImageError(f"{where}: not as many values as the header has columns")
    label = row["label"] or ""
    if label not in classes:
        raise ImageError(f"{where}: label {label!r} is none of {', '.join(classes)}")
    split = row.get("split") or None
    if split is not None and split not in tuple(Split):
        raise ImageError(f"{where}: split {split!r} is neither train nor test", hint="or leave it empty")
    return Entry(
        path=_parse_path(row["file"] or "", where),
        label=label,
        hospital=row.get("hospital") or None,
        split=Split(split) if split else None,
        patient=row.get("patient_id") or None,
        slide=row.get("slide") or None,
        group=row.get("group") or None,
        sha256=row.get("sha256") or None,
    )


def _parse_path(file: str, where: str) -> PurePosixPath:
    path = PurePosixPath(file)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in file or "\0" in file:
        raise ImageError(
            f"{where}: {file!r} is not a path below the folder", hint="write it like Benign/001.jpg"
        )
    return path


def _check_file(root: Path, path: PurePosixPath, where: str) -> None:
    found = (root / path).resolve()
    if not found.is_relative_to(root):
        raise ImageError(f"{where}: {path} is a link to outside the folder")
    if not found.is_file():
        raise ImageError(f"{where}: no such file {path}")
