"""A hospital's term of one step of the whole federation: integers for the masked sum, noise included.

Nothing but that vector leaves the trainer. It is no update by itself: the coordinator divides the sum of all
by the expected batch and takes the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.distributed_step import DistributedStep
from fedpriv.errors import StudyError
from fedpriv.model.network import build_model, split_front
from fedpriv.model.weights import dimension, from_vector
from fedpriv.node.trainer import front_maps, sampler_of
from fedpriv.secagg.ring import from_signed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras
    from fedpriv.study import Study


class DistributedTrainer:
    """Computes one hospital's term of every round of a study; TensorFlow and the data are loaded once.

    ``images`` float32 (n, size, size, 3) in [0, 1], ``labels`` int (n,), ``units`` int (n,): equal for
    records of one unit. ``hospital`` is named in the study. ``model`` is the study's, unless an auditor hands
    in one whose gradients are known.
    Raises StudyError if the values of the sum cannot hold this hospital's units, or the levels are too few
    for the network.
    """

    def __init__(
        self,
        study: Study,
        hospital: str,
        images: NDArray[np.float32],
        labels: NDArray[np.int64],
        units: NDArray[np.int64],
        model: keras.Model | None = None,
    ) -> None:
        shares, self._bits = study.noise_shares, study.secure_aggregation.bits
        count, most = len(np.unique(units)), shares.most_units(self._bits)
        if count > most:
            raise StudyError(
                f"there are more units here than values of {self._bits} bits hold beside the noise, "
                f"{most} of {shares.levels} levels",
                hint="the study declares fewer units than there are here",
            )
        sampler = sampler_of(study, hospital, units)
        front, self._trunk = split_front(build_model(study) if model is None else model)
        try:
            self._step = DistributedStep(
                self._trunk,
                front_maps(front, images),
                labels.astype(np.int32),
                sampler,
                l2_clip_norm=study.privacy.l2_clip_norm,
                shares=shares,
            )
        except ValueError as error:
            raise StudyError(f"[privacy] levels_per_clip_norm: {error}") from error

    @property
    def parameters(self) -> int:
        """The length d of the model vector."""
        return dimension(self._trunk)

    def train(self, vector: NDArray[np.float32]) -> NDArray[np.int64]:
        """One round's term at the model ``vector``, float32 (d,): ring values of the sum, int64 (d,).

        Raises ValueError if ``vector`` has another length or is not finite.
        """
        from_vector(self._trunk, vector)
        return from_signed(self._step.integer_sum(), self._bits)
