"""The model of this process, loaded once, and what it makes of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.page.reading import Reading, reading_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras


class Reader:
    """A warm model. ``size`` is the side of the square images that it wants, in pixels."""

    def __init__(self, folder: Path) -> None:
        from fedpriv.model import evaluate
        from fedpriv.model.folder import load_model
        from fedpriv.model.network import restore

        saved = load_model(folder)
        self.card = saved.card
        self.size = saved.card.image_size
        self.model: keras.Model = restore(saved)
        self._predict = evaluate.predict
        self.read([np.ones((self.size, self.size, 3), np.float32)])

    def read(self, images: Sequence[NDArray[np.float32]]) -> list[Reading]:
        """A reading of each image, float32 (size, size, 3) in [0, 1]."""
        probabilities = self._predict(self.model, np.stack(images))
        return [reading_of(self.card.classes, row.tolist()) for row in probabilities]


_readers: list[Reader] = []


def load(folder: Path) -> None:
    """Load the model of this process; TensorFlow does not survive a fork, so workers call it after theirs."""
    _readers[:] = [Reader(folder)]


def reader() -> Reader:
    """The model that `load` loaded."""
    return _readers[0]
