"""The images that attacks run on: drawn smears, or a folder that its owner says is public."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.audit.bench import Records
from fedpriv.errors import ImageError
from fedpriv.smears.generate import CLASSES, generate
from fedpriv.smears.index import index_images
from fedpriv.smears.load import load_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedpriv.study import Study

_SEED = 7


def public_records(
    study: Study,
    count: int,
    size: int,
    *,
    folder: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Records:
    """``count`` records of ``size`` x ``size``, each a unit of its own: drawn, or the first of ``folder``.

    A drawn one is of a patient of its own, all of one hospital's stain: nothing but the cells tells them
    apart. ImageError if the folder holds fewer.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as scratch:
            index = generate(
                Path(scratch) / "smears",
                hospitals=1,
                patients_per_hospital=max(count, len(CLASSES)),
                images_per_patient=1,
                seed=_SEED,
                on_progress=on_progress,
            )
            loaded = load_images(index, size)
        labels = loaded.labels % len(study.study.classes)
    else:
        loaded = load_images(index_images(folder, study.study.classes), size, on_progress=on_progress)
        labels = loaded.labels
    if len(labels) < count:
        raise ImageError(f"{folder}: {len(labels)} images, this attack needs {count}")
    # Classes lie one after the other in a folder; a fixed shuffle mixes them.
    chosen = np.random.default_rng(_SEED).permutation(len(labels))[:count]
    return Records(loaded.images[chosen], labels[chosen], np.arange(count, dtype=np.int64))
