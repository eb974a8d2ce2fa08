"""From a saved model and a folder of labelled images to figures; counting them loads TensorFlow."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.model.evaluate import Evaluation
    from fedpriv.model.folder import SavedModel
    from fedpriv.smears.index import Index


class SplitName(StrEnum):
    """Which images of a manifest to take."""

    ALL = "all"
    TRAIN = "train"
    TEST = "test"


def evaluation_of(model: Path, images: Path, split: SplitName) -> Evaluation:
    """How the model in ``model`` does on the images of ``split`` in the folder ``images``."""
    from fedpriv.model.folder import find_model_folder, load_model
    from fedpriv.smears.index import index_images
    from fedpriv.smears.manifest import Split

    saved = load_model(find_model_folder(model))
    index = index_images(images, saved.card.classes)
    if split is not SplitName.ALL:
        index = index.select(split=Split(split))
    return evaluation_on(saved, index)


def evaluation_on(saved: SavedModel, index: Index) -> Evaluation:
    """How a model does on indexed images; the index must have the model's classes."""
    from fedpriv.model import evaluate as evaluation
    from fedpriv.model.network import restore
    from fedpriv.smears.load import load_images

    loaded = load_images(index, saved.card.image_size)
    probabilities = evaluation.predict(restore(saved), loaded.images)
    return evaluation.evaluate(probabilities, loaded.labels, saved.card.classes)
