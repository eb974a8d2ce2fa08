"""A run of a study in this process: the trainers of ``fedpriv node start``, the coordinator's own step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.coordinator.server_step import at_start, moved
from fedpriv.model.network import build_model
from fedpriv.model.weights import to_vector
from fedpriv.node.training import trainer_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fedpriv.audit.bench import Records
    from fedpriv.coordinator.server_step import Progress
    from fedpriv.legacy_keras import keras
    from fedpriv.study import Study


def seen_together(study: Study) -> tuple[str, ...]:
    """Whose updates nobody sees but as a sum: all hospitals if they share the noise, else the first alone."""
    return study.names if study.privacy.noise == "distributed" else study.names[:1]


def run(
    study: Study, records: Records, hospitals: tuple[str, ...], model: keras.Model | None = None
) -> Iterator[Progress]:
    """The progress before the first round and after each, ``records`` dealt in turn to ``hospitals``.

    Only they take part; masks are left out, since they cancel. ``model`` is the study's, or an auditor's.
    """
    network = build_model(study) if model is None else model
    progress = at_start(to_vector(network))
    trainers = [
        trainer_for(study, name, *_hand(records, place, len(hospitals)), network)
        for place, name in enumerate(hospitals)
    ]
    yield progress
    for number in range(1, study.training.rounds + 1):
        total = np.sum([trainer.train(progress.vector) for trainer in trainers], axis=0)
        progress = moved(study, progress, total, hospitals, number)
        yield progress


def _hand(
    records: Records, place: int, hands: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    return records.images[place::hands], records.labels[place::hands], records.units[place::hands]
