"""From a study to the trainer that its kind of noise calls for; each gives values for the masked sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fedpriv.secagg.ring import quantise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras
    from fedpriv.node.hospital import Trainer
    from fedpriv.study import Study


class FloatTrainer(Protocol):
    """Trains to an update of real numbers; `fedpriv.node.trainer.LocalTrainer` is the real one."""

    @property
    def parameters(self) -> int:
        """The length d of the model vector."""

    def train(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """The update of one round, float64 (d,), from the model ``vector``, float32 (d,)."""


class FixedPoint:
    """A trainer of real numbers, its updates in the fixed point of ``study``."""

    def __init__(self, trainer: FloatTrainer, study: Study) -> None:
        self._trainer = trainer
        self._update_range = study.update_range
        self._bits = study.secure_aggregation.bits

    @property
    def parameters(self) -> int:
        """The length d of the model vector."""
        return self._trainer.parameters

    def train(self, vector: NDArray[np.float32]) -> NDArray[np.int64]:
        """The update of one round as ring values of ``bits`` bits, int64 (d,)."""
        return quantise(self._trainer.train(vector), self._update_range, self._bits)


def trainer_for(
    study: Study,
    hospital: str,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    model: keras.Model | None = None,
) -> Trainer:
    """What ``hospital`` trains with in ``study``; loads TensorFlow. StudyError if the study cannot be.

    The architecture is the study's; an auditor may hand in a ``model`` whose gradients are known.
    """
    from fedpriv.node.distributed_trainer import DistributedTrainer
    from fedpriv.node.trainer import LocalTrainer

    if study.privacy.noise == "distributed":
        return DistributedTrainer(study, hospital, images, labels, units, model)
    return FixedPoint(LocalTrainer(study, hospital, images, labels, units, model), study)
