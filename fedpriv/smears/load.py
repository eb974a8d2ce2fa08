"""An index of images to arrays that fit a training step."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedpriv.errors import ImageError
from fedpriv.smears.decode import Decoded, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fedpriv.smears.index import Index
    from fedpriv.smears.manifest import Entry

_MOST_THREADS = 8


class OnBad(StrEnum):
    """What to do with an image that cannot be used: the hospital's admin chooses."""

    REFUSE = "refuse"
    SKIP = "skip"


class Unit(StrEnum):
    """Whose presence is hidden: one image's, or one patient's with all of the patient's images."""

    IMAGE = "image"
    PATIENT = "patient"


class Picture(NamedTuple):
    """What an image shows (`fedpriv.smears.decode.Decoded.content`) and whom (`Entry.person`)."""

    content: bytes
    person: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class LoadedImages:
    """``n`` images in the order of the index.

    ``images`` is float32 ``(n, size, size, 3)`` in [0, 1]; ``labels`` int64 ``(n,)`` counts in the order of
    the study's classes; ``units`` int64 ``(n,)`` numbers the units 0, 1, ... and is equal for images of one
    unit, copies of one image among them. ``pictures`` tells what each image shows. ``skipped`` has one line
    for each image that was left out: its path and why.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    pictures: tuple[Picture, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What decoding an index found: ``bad`` as in `LoadedImages.skipped`; a bad image's picture is None."""

    bad: tuple[str, ...]
    pictures: tuple[Picture | None, ...]


def load_images(
    index: Index,
    size: int,
    *,
    unit: Unit = Unit.IMAGE,
    on_bad: OnBad = OnBad.REFUSE,
    on_progress: Callable[[int], None] | None = None,
) -> LoadedImages:
    """Decode every image of ``index`` to ``size`` x ``size``; ``on_progress`` gets the number done so far.

    Raises:
        ImageError: images are bad and ``on_bad`` is refuse (the first is named, and how many); none is good;
            or ``unit`` is patient and an image names neither patient nor slide.

    """
    if unit is Unit.PATIENT:
        _check_sources(index)
    images = np.empty((len(index.entries), size, size, 3), dtype=np.float32)
    kept: list[Entry] = []
    pictures: list[Picture] = []
    bad: list[str] = []
    for done, (entry, outcome) in enumerate(_decode_all(index, size), start=1):
        if isinstance(outcome, ImageError):
            bad.append(outcome.message)
        else:
            images[len(kept)] = outcome.pixels
            kept.append(entry)
            pictures.append(Picture(outcome.content, entry.person))
        if on_progress is not None:
            on_progress(done)
    if bad and (on_bad is OnBad.REFUSE or not kept):
        raise ImageError(
            f"{len(bad)} of {len(index.entries)} images in {index.folder} cannot be used, first {bad[0]}",
            hint="`fedpriv data check` lists them; repair or remove them, or choose to skip bad images",
        )
    number_of = {label: number for number, label in enumerate(index.classes)}
    return LoadedImages(
        images=images[: len(kept)],
        labels=np.array([number_of[entry.label] for entry in kept], dtype=np.int64),
        units=number_units(pictures, unit),
        pictures=tuple(pictures),
        skipped=tuple(bad),
    )


def inspect_images(index: Index, on_progress: Callable[[int], None] | None = None) -> Inspection:
    """Decode everything and keep no pixels; ``on_progress`` gets the number done so far."""
    bad: list[str] = []
    pictures: list[Picture | None] = []
    for done, (entry, outcome) in enumerate(_decode_all(index, size=1), start=1):
        if isinstance(outcome, ImageError):
            bad.append(outcome.message)
            pictures.append(None)
        else:
            pictures.append(Picture(outcome.content, entry.person))
        if on_progress is not None:
            on_progress(done)
    return Inspection(tuple(bad), tuple(pictures))


def number_units(pictures: Sequence[Picture], unit: Unit) -> NDArray[np.int64]:
    """The unit of each picture, int64 (n,), counted from 0: a copy of an image is no unit of its own."""
    number_of: dict[object, int] = {}
    keys = (picture.content if unit is Unit.IMAGE else picture.person for picture in pictures)
    return np.array([number_of.setdefault(key, len(number_of)) for key in keys], dtype=np.int64)


def _decode_all(index: Index, size: int) -> Iterator[tuple[Entry, Decoded | ImageError]]:
    """Outcomes in the order of the index; Pillow releases the interpreter lock, so threads help."""

    def attempt(entry: Entry) -> tuple[Entry, Decoded | ImageError]:
        try:
            return entry, read_image(index.locate(entry), size)
        except ImageError as error:
            return entry, ImageError(f"{entry.path.parent}/{error.message}")

    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        # Pillow warns of damaged tags and of sizes above its own limit; we name the file, or it was harmless.
        warnings.filterwarnings("ignore", module="PIL")
        yield from pool.map(attempt, index.entries)


def _check_sources(index: Index) -> None:
    for entry in index.entries:
        if entry.source is None:
            raise ImageError(
                f"{index.folder}: {entry.path} names no patient, and the study protects patients",
                hint="fill the column patient_id of manifest.csv for every image",
            )
