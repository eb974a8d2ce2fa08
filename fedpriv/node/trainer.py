"""A hospital's training in one round: private steps on its own images, and one update vector out.

Nothing but the update leaves the trainer: no loss, no batch size, no timing. The update is weighted by the
hospital's declared share of all units, a public constant, so the sum over hospitals is the federated average
(McMahan et al. 2017, algorithm 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.sampling import PoissonSampler
from fedpriv.dp.step import PrivateStep
from fedpriv.errors import StudyError
from fedpriv.model.network import build_model, split_front
from fedpriv.model.plain_step import PlainStep
from fedpriv.model.weights import dimension, from_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.dp.accounting import PrivacyEvent
    from fedpriv.legacy_keras import keras
    from fedpriv.study import Study

_FRONT_BATCH = 64


class LocalTrainer:
    """Trains one hospital's part of every round of a study; TensorFlow and the data are loaded once.

    ``images`` float32 (n, size, size, 3) in [0, 1], ``labels`` int (n,), ``units`` int (n,): equal for
    records of one unit. ``hospital`` is named in the study. The network's fixed front is applied here, once
    for each image; its maps are all that is kept.
    ``model`` is the study's, unless an auditor hands in one whose gradients are known.

    Raises StudyError if the study has no noise multiplier yet, or noise of a kind that is not trained here.
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
        self._training = study.training
        self._update_range = study.update_range
        self._noise_multiplier = study.noise_multiplier
        self._share = study.hospitals[hospital] / study.units
        self._sampler = sampler_of(study, hospital, units)
        front, self._trunk = split_front(build_model(study) if model is None else model)
        self._step = _make_step(
            study, hospital, self._trunk, front_maps(front, images), labels.astype(np.int32), self._sampler
        )

    @property
    def parameters(self) -> int:
        """The length d of the model vector."""
        return dimension(self._trunk)

    @property
    def event(self) -> PrivacyEvent:
        """What one round costs; to be charged before :meth:`train` is called."""
        return self._sampler.event(self._noise_multiplier, self._training.local_steps)

    def train(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """The weighted update float64 (d,) after this round's steps from the model ``vector``, float32 (d,).

        Coordinates lie within plus or minus ``update_range``, to the last bit; the noise is inside, so
        limiting them costs nothing. Raises ValueError if ``vector`` has another length or is not finite.
        """
        start = vector.astype(np.float64)
        weights = start.copy()
        velocity = np.zeros_like(weights)
        for _ in range(self._training.local_steps):
            from_vector(self._trunk, weights.astype(np.float32))
            velocity = self._training.momentum * velocity + self._step.gradient()
            weights -= self._training.learning_rate * velocity
        update = self._share * (weights - start)
        limit = self._update_range
        return np.clip(update, -limit, limit)  # in float32 the limit itself may be out of range


def _make_step(
    study: Study,
    hospital: str,
    trunk: keras.Model,
    maps: NDArray[np.float32],
    labels: NDArray[np.int32],
    sampler: PoissonSampler,
) -> PrivateStep | PlainStep:
    expected_units = study.hospitals[hospital] * study.training.sampling_probability
    match study.privacy.noise:
        case "local":
            return PrivateStep(
                trunk,
                maps,
                labels,
                sampler,
                l2_clip_norm=study.privacy.l2_clip_norm,
                noise_multiplier=study.noise_multiplier,
                expected_units=expected_units,
            )
        case "none":
            return PlainStep(trunk, maps, labels, sampler, expected_units=expected_units)
        case "distributed":
            raise StudyError('[privacy] noise = "distributed" is not one hospital\'s own')


def sampler_of(study: Study, hospital: str, units: NDArray[np.int64]) -> PoissonSampler:
    """The sampler of ``hospital`` over the records with these ``units``, int (n,).

    The coordinator sees when an update arrives. In full batches time is therefore spent on the declared
    units: the next chunk of one unit more, in every round, would tell that it is there.
    """
    probability = study.training.sampling_probability
    return PoissonSampler(
        units,
        sampling_probability=probability,
        records_per_unit=study.privacy.images_per_patient or 1,
        at_least=study.hospitals[hospital] if probability == 1 else 0,
    )


def front_maps(front: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The fixed maps of all images, float32 (n, height, width, channels), computed in batches."""
    maps = np.empty((len(images), *front.output_shape[1:]), dtype=np.float32)
    for start in range(0, len(images), _FRONT_BATCH):
        stop = start + _FRONT_BATCH
        maps[start:stop] = front(images[start:stop], training=False).numpy()
    return maps
