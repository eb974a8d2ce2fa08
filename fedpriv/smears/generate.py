"""A folder of drawn smears with known patients: the data of the demo, of the tests and of all tuning.

Each hospital has its own stain, each patient one class and several fields. Everything is drawn from
``numpy`` generators seeded by (seed, hospital, patient): it is public data and repeats bit for bit with
the same versions of numpy and Pillow.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import tempfile
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fedpriv.errors import ImageError
from fedpriv.smears.drawing.field import POPULATIONS, draw_field, draw_patient
from fedpriv.smears.drawing.stain import hospital_stain
from fedpriv.smears.index import Index
from fedpriv.smears.manifest import MANIFEST_NAME, Entry, write_manifest
from fedpriv.smears.split import Tie, split_train_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLASSES = tuple(POPULATIONS)
TEST_FRACTION = 0.2


def generate(
    folder: Path,
    *,
    hospitals: int,
    patients_per_hospital: int,
    images_per_patient: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> Index:
    """Draw smears into the new ``folder``: PNG files in class folders and a ``manifest.csv``.

    Hospitals are named A, B, C, ...; classes take turns over patients; a fifth of each class's patients is
    the test set. ``on_progress`` gets the number of images written so far.

    Raises:
        ImageError: the folder exists or cannot be written, or there are too few patients for four classes.

    """
    if min(hospitals, images_per_patient) < 1 or patients_per_hospital < len(CLASSES) or seed < 0:
        raise ImageError(
            f"cannot draw {hospitals} hospitals with {patients_per_hospital} patients of"
            f" {images_per_patient} images, seed {seed}",
            hint=f"at least 1 hospital, {len(CLASSES)} patients each, 1 image each, and a seed from 0 on",
        )
    if folder.exists():
        raise ImageError(f"{folder}: exists already", hint="name a new folder, or remove this one")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            draft = Path(scratch) / folder.name
            for label in CLASSES:
                (draft / label).mkdir(parents=True)
            entries: list[Entry] = []
            for hospital in range(hospitals):
                for entry in _draw_hospital(draft, hospital, patients_per_hospital, images_per_patient, seed):
                    entries.append(entry)
                    if on_progress is not None:
                        on_progress(len(entries))
            split = split_train_test(entries, tie=Tie.PATIENT, test_fraction=TEST_FRACTION, seed=seed)
            write_manifest(draft / MANIFEST_NAME, split)
            draft.rename(folder)
    except OSError as error:
        raise ImageError(f"{folder}: cannot be written ({error.strerror})") from error
    return Index(folder, CLASSES, split)


def hospital_names(count: int) -> tuple[str, ...]:
    """A, B, ..., Z, AA, AB, ...: the first ``count`` names."""
    letters = (itertools.product(ascii_uppercase, repeat=length) for length in itertools.count(1))
    names = ("".join(name) for name in itertools.chain.from_iterable(letters))
    return tuple(itertools.islice(names, count))


def _draw_hospital(folder: Path, hospital: int, patients: int, images: int, seed: int) -> Iterator[Entry]:
    name = hospital_names(hospital + 1)[-1]
    stain = hospital_stain(np.random.default_rng([seed, hospital + 1]), hospital)
    for number in range(patients):
        rng = np.random.default_rng([seed, hospital + 1, number + 1])
        label = CLASSES[(hospital + number) % len(CLASSES)]
        patient = draw_patient(rng, label, stain)
        patient_id = f"{name}-{number + 1:03d}"
        for image in range(images):
            path = PurePosixPath(label, f"{patient_id}-{image + 1:02d}.png")
            data = _encode_png(draw_field(rng, patient))
            (folder / path).write_bytes(data)
            yield Entry(
                path=path,
                label=label,
                hospital=name,
                patient=patient_id,
                slide=f"{patient_id}-slide",
                group=path.stem,
                sha256=hashlib.sha256(data).hexdigest(),
            )


def _encode_png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)  # noise hardly compresses: be quick
    return stream.getvalue()
