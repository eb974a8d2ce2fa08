"""The images of the accuracy benchmark: a folder of real smears, or generated ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.errors import ImageError
from fedpriv.smears.generate import generate
from fedpriv.smears.index import index_images
from fedpriv.smears.load import load_images

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = ("Benign", "Early", "Pre", "Pro")
SIZE = 64


@dataclass(frozen=True)
class Smears:
    """``images`` float32 (n, 64, 64, 3), ``labels`` int64 (n,), and names of hospitals and splits, (n,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    hospitals: NDArray[np.str_]
    splits: NDArray[np.str_]
    fingerprint: str

    @property
    def names(self) -> tuple[str, ...]:
        """The hospitals, sorted."""
        return tuple(sorted({str(name) for name in self.hospitals}))

    def places(self, *, split: str | None = None, hospital: str | None = None) -> NDArray[np.int64]:
        """Where images of a split, of a hospital, or of both lie."""
        chosen = np.ones(len(self.labels), dtype=bool)
        if split is not None:
            chosen &= self.splits == split
        if hospital is not None:
            chosen &= self.hospitals == hospital
        return np.flatnonzero(chosen)


def load(folder: Path) -> Smears:
    """Every image of ``folder`` whose manifest names a hospital and a split."""
    index = index_images(folder, CLASSES)
    if any(entry.hospital is None or entry.split is None for entry in index.entries):
        raise ImageError(
            f"{folder}: an image without hospital or split",
            hint=f"`fedpriv data split {folder} --hospitals 5` writes such a manifest",
        )
    loaded = load_images(index, SIZE)
    digest = hashlib.sha256(loaded.images.tobytes())
    for entry in index.entries:
        digest.update(f"{entry.path} {entry.hospital} {entry.split}".encode())
    return Smears(
        loaded.images,
        loaded.labels,
        np.array([entry.hospital for entry in index.entries]),
        np.array([str(entry.split) for entry in index.entries]),
        digest.hexdigest(),
    )


def drawn(folder: Path) -> Path:
    """Generated smears of five hospitals, drawn once."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        generate(folder, hospitals=5, patients_per_hospital=68, images_per_patient=8, seed=6)
    return folder
