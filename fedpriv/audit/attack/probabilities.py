"""A table of what a model says of images, for a second opinion by other disclosure-control tools."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from fedpriv.errors import ImageError
from fedpriv.model.evaluate import predict
from fedpriv.model.network import restore
from fedpriv.smears.load import load_images
from fedpriv.smears.manifest import Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from fedpriv.model.folder import SavedModel
    from fedpriv.smears.index import Index


def table(saved: SavedModel, index: Index) -> str:
    """CSV: ``image``, ``member``, ``label``, and a column ``p_CLASS`` for each class in the model's order.

    ``member`` is 1 for the training split of the manifest and 0 for its test split; ``label`` counts classes
    from 0. ImageError if an image is in neither split.
    """
    for entry in index.entries:
        if entry.split is None:
            raise ImageError(
                f"{index.folder}: {entry.path} is in no split, so nobody knows if it is a member",
                hint="`fedpriv data split` writes a manifest.csv with a column split",
            )
    loaded = load_images(index, saved.card.image_size)
    members = [entry.split is Split.TRAIN for entry in index.entries]
    names = [str(entry.path) for entry in index.entries]
    return write_table(
        names, members, loaded.labels, predict(restore(saved), loaded.images), saved.card.classes
    )


def write_table(
    names: Iterable[str],
    members: Iterable[bool],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: tuple[str, ...],
) -> str:
    """The table as text, rows in the given order; ``probabilities`` float64 (n, classes) in full."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "member", "label", *(f"p_{name}" for name in classes)])
    for name, member, label, row in zip(names, members, labels, probabilities, strict=True):
        writer.writerow([name, int(member), int(label), *(repr(float(value)) for value in row)])
    return stream.getvalue()
