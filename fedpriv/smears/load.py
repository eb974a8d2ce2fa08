"""An index of images to arrays that fit a training step."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.errors import ImageError
from fedpriv.smears.decode import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@dataclass(frozen=True, slots=True)
class LoadedImages:
    """``n`` images in the order of the index.

    ``images`` is float32 ``(n, size, size, 3)`` in [0, 1]; ``labels`` int64 ``(n,)`` counts in the order of
    the study's classes; ``units`` int64 ``(n,)`` numbers the units 0, 1, ... and is equal for images of one
    unit. ``skipped`` has one line for each image that was left out: its path and why.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    skipped: tuple[str, ...]


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
    good: list[int] = []
    bad: list[str] = []
    for position, outcome in enumerate(_decode_all(index, size)):
        if isinstance(outcome, ImageError):
            bad.append(outcome.message)
        else:
            images[len(good)] = outcome
            good.append(position)
        if on_progress is not None:
            on_progress(position + 1)
    if bad and (on_bad is OnBad.REFUSE or not good):
        raise ImageError(
            f"{len(bad)} of {len(index.entries)} images in {index.folder} cannot be used, first {bad[0]}",
            hint="`fedpriv data check` lists them; repair or remove them, or choose to skip bad images",
        )
    kept = [index.entries[position] for position in good]
    number_of = {label: number for number, label in enumerate(index.classes)}
    return LoadedImages(
        images=images[: len(good)],
        labels=np.array([number_of[entry.label] for entry in kept], dtype=np.int64),
        units=_number_units(kept, unit),
        skipped=tuple(bad),
    )


def find_bad_images(index: Index, on_progress: Callable[[int], None] | None = None) -> tuple[str, ...]:
    """Decode everything and keep nothing: one line for each image that cannot be used."""
    bad: list[str] = []
    for position, outcome in enumerate(_decode_all(index, size=1)):
        if isinstance(outcome, ImageError):
            bad.append(outcome.message)
        if on_progress is not None:
            on_progress(position + 1)
    return tuple(bad)


def _decode_all(index: Index, size: int) -> Iterator[NDArray[np.float32] | ImageError]:
    """Outcomes in the order of the index; Pillow releases the interpreter lock, so threads help."""

    def attempt(entry: Entry) -> NDArray[np.float32] | ImageError:
        try:
            return decode(index.locate(entry), size)
        except ImageError as error:
            return ImageError(f"{entry.path.parent}/{error.message}")

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


def _number_units(entries: list[Entry], unit: Unit) -> NDArray[np.int64]:
    if unit is Unit.IMAGE:
        return np.arange(len(entries), dtype=np.int64)
    # Two hospitals may both number their patients from 1: those are different people.
    number_of: dict[tuple[str | None, str | None], int] = {}
    numbers = [number_of.setdefault((entry.hospital, entry.source), len(number_of)) for entry in entries]
    return np.array(numbers, dtype=np.int64)
