"""The model of this process: loaded once, kept warm, asked in batches.

Images of one request, and of requests that come while the model is busy, are read together: nobody waits
for a batch to fill.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.page.decoder import Decoders
from fedpriv.page.evidence import EvidenceMap, drawn
from fedpriv.page.reading import NOT_A_SMEAR, Reading, reading_of
from fedpriv.smears.appearance import looks_like_a_smear

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras

LARGEST_BATCH = 32
_MOST_DECODERS = 2


class Batches:
    """Calls ``predict`` in a thread of its own, with all images that wait, `LARGEST_BATCH` at most."""

    def __init__(self, predict: Callable[[NDArray[np.float32]], NDArray[np.float64]]) -> None:
        self._predict = predict
        self._waiting: SimpleQueue[tuple[NDArray[np.float32], Future[NDArray[np.float64]]]] = SimpleQueue()
        Thread(target=self._work, name="batches", daemon=True).start()

    def ask(self, images: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float64]]:
        """The row of ``predict`` for each image; blocks. Raises what ``predict`` raised."""
        answers: list[Future[NDArray[np.float64]]] = [Future() for _ in images]
        for image, answer in zip(images, answers, strict=True):
            self._waiting.put((image, answer))
        return [answer.result() for answer in answers]

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            try:
                while len(batch) < LARGEST_BATCH:
                    batch.append(self._waiting.get_nowait())
            except Empty:
                pass
            try:
                rows = self._predict(np.stack([image for image, _ in batch]))
            except Exception as error:  # noqa: BLE001 -- each asker raises it
                for _, answer in batch:
                    answer.set_exception(error)
            else:
                for (_, answer), row in zip(batch, rows, strict=True):
                    answer.set_result(row)


class Reader:
    """A warm model and its decoders.

    ``size`` is the side of the images that the model wants, in pixels; ``model`` gives logits.
    """

    def __init__(self, folder: Path) -> None:
        from fedpriv.model import evaluate
        from fedpriv.model.folder import load_model
        from fedpriv.model.network import restore

        saved = load_model(folder)
        self.card = saved.card
        self.size = saved.card.image_size
        self.model: keras.Model = restore(saved)
        self._batches = Batches(lambda images: evaluate.predict(self.model, images))
        self._decoders = Decoders(min(_MOST_DECODERS, os.cpu_count() or 1))
        for count in (1, LARGEST_BATCH):
            self._batches.ask([np.ones((self.size, self.size, 3), np.float32)] * count)

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Pixels float32 (size, size, 3) of an upload, or `fedpriv.page.decoder.Refused`."""
        return self._decoders.decode(data, self.size)

    def probabilities(self, images: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Probabilities (n, classes) of images float32 (size, size, 3), in batches with those of others."""
        return np.stack(self._batches.ask(images))

    def read(self, images: Sequence[NDArray[np.float32]]) -> list[Reading]:
        """A reading of each image, float32 (size, size, 3) in [0, 1]."""
        smears = [looks_like_a_smear(image) for image in images]
        rows = iter(self._batches.ask([image for image, smear in zip(images, smears, strict=True) if smear]))
        return [
            reading_of(self.card.classes, next(rows).tolist()) if smear else NOT_A_SMEAR for smear in smears
        ]

    def map_evidence(self, image: NDArray[np.float32], reading: Reading) -> EvidenceMap | None:
        """Where in ``image`` the evidence for the most probable class lies, in under a second."""
        from fedpriv.model.evidence_map import evidence_map

        if not reading.probabilities:
            return None
        number = max(range(len(reading.probabilities)), key=lambda one: reading.probabilities[one].value)
        evidence = evidence_map(lambda batch: self.probabilities(list(batch)), image, number)
        return drawn(reading.probabilities[number].name, evidence)


_readers: list[Reader] = []


def load(folder: Path) -> None:
    """Load the model of this process; TensorFlow does not survive a fork, so workers call it after theirs."""
    _readers[:] = [Reader(folder)]


def reader() -> Reader:
    """The model that `load` loaded."""
    return _readers[0]
