"""Hospitals to be tested: the trainers that ``fedpriv node start`` uses, on drawn records, read back.

A bench keeps the mechanism of a study (network, image size, unit, kind of noise, cohort) and turns the knobs
that let one thing be seen at a time. *Loud*: the clip norm is so large that the noise, at the study's own
multiplier, drowns every record. *Quiet*: the multiplier is so small that clipped gradients can be read to
four digits. A learning rate is chosen so that an update is the noisy sum itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from fedpriv.audit.reference import record_gradients
from fedpriv.dp.rounding import fewest_levels
from fedpriv.errors import StudyError
from fedpriv.legacy_keras import tf
from fedpriv.model.network import build_model
from fedpriv.model.weights import dimension, to_vector
from fedpriv.node.training import trainer_for
from fedpriv.secagg.ring import dequantise_sum, signed_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras
    from fedpriv.study import Study

_LOUD_CLIP_NORM = 1e4
"""In gradient norms."""

_QUIET_LEVELS = 2**24
_QUIET_MULTIPLIER = 1e-5
_QUIET_SHARE = 32
"""Standard deviation, in levels, of a hospital's share of noise: small, but one that can be drawn."""

_BITS = 32
_HEADROOM = 32
"""How far a value may lie beyond what is right before the trainer limits it: faults must show in full."""

_LARGEST_RANGE = 1e9
_GRAIN = 0.1


@dataclass(frozen=True, slots=True)
class Records:
    """``images`` float32 (n, size, size, 3), ``labels`` int64 (n,), ``units`` int64 (n,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]

    def __getitem__(self, kept: slice | list[int]) -> Records:
        return Records(self.images[kept], self.labels[kept], self.units[kept])

    def repeated(self, units: int) -> Records:
        """These records ``units`` times over, each time as one unit."""
        return Records(
            np.tile(self.images, (units, 1, 1, 1)),
            np.tile(self.labels, units),
            np.repeat(np.arange(units, dtype=np.int64), len(self.labels)),
        )


class Hospital:
    """One hospital's trainer, whose output is read back in clip norms: (clipped sum + noise) / C."""

    def __init__(
        self,
        study: Study,
        name: str,
        records: Records,
        vector: NDArray[np.float32],
        model: keras.Model | None = None,
    ) -> None:
        self.study = study
        self.name = name
        self._vector = vector
        self._trainer = trainer_for(study, name, records.images, records.labels, records.units, model)

    @property
    def noise_deviation(self) -> float:
        """Of one coordinate of what this hospital gives to the sum, in clip norms."""
        if self.study.privacy.noise == "distributed":
            shares = self.study.noise_shares
            return shares.standard_deviation / shares.levels
        return self.study.noise_multiplier

    def values(self) -> NDArray[np.int64]:
        """What goes into the masked sum, int64 (d,)."""
        return self._trainer.train(self._vector)

    def releases(self, count: int) -> NDArray[np.float64]:
        """``count`` rounds from the same model, float64 (count, d)."""
        return np.array([self.read(self.values()) for _ in range(count)])

    def read(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        """The ring values of one update in clip norms, both (d,)."""
        privacy, bits = self.study.privacy, self.study.secure_aggregation.bits
        if privacy.noise == "distributed":
            return signed_sum(values, 1, bits) / self.study.noise_shares.levels
        return -dequantise_sum(values, 1, self.study.update_range, bits) / privacy.l2_clip_norm


class Bench:
    """Makes hospitals of one study's mechanism; StudyError if it adds no noise or none was planned.

    They train the study's network, or ``model`` from the weights that it has.
    """

    def __init__(self, study: Study, model: keras.Model | None = None) -> None:
        if study.noise_multiplier == 0:
            raise StudyError(
                f'the study {study.study.name} has noise = "none": it has nothing to conform to',
                hint="name a study that protects its images",
            )
        self.study = study
        self.names = study.names
        self._given = model
        # A node makes one trainer; so many in one process make TensorFlow warn of tracing.
        tf.get_logger().setLevel("ERROR")

    @cached_property
    def vector(self) -> NDArray[np.float32]:
        """A model at which every layer has a gradient, float32 (d,)."""
        if self._given is not None:
            return to_vector(self._given)
        count = dimension(self._model)
        return np.random.default_rng(0).normal(0, 0.3, count).astype(np.float32)

    def records(self, count: int) -> Records:
        """``count`` drawn records, each of its own colour and a unit of its own."""
        size, classes = self.study.images.size, len(self.study.study.classes)
        generator = np.random.default_rng(1)
        colours = generator.random((count, 1, 1, 3))
        grain = generator.normal(0, _GRAIN, (count, size, size, 3))
        return Records(
            np.clip(colours + grain, 0, 1).astype(np.float32),
            np.arange(count, dtype=np.int64) % classes,
            np.arange(count, dtype=np.int64),
        )

    def gradients(self, records: Records) -> NDArray[np.float64]:
        """Each record's own gradient, float64 (n, d), by another way than the trainers'."""
        return record_gradients(self._model, self.vector, records.images, records.labels)

    def loud(self, name: str, records: Records, *, sampling_probability: float = 1.0) -> Hospital:
        """Nothing but noise can be seen; every unit is declared."""
        clip_norm = _LOUD_CLIP_NORM * self._largest_norm
        study = self._turned(len(set(records.units.tolist())), clip_norm, sampling_probability)
        return Hospital(study, name, records, self.vector, self._given)

    def quiet(
        self,
        records: Records,
        *,
        l2_clip_norm: float,
        sampling_probability: float = 1.0,
        declared: int | None = None,
    ) -> Hospital:
        """Next to nothing but clipped gradients can be seen; ``declared`` units, by default those present."""
        units = declared or len(set(records.units.tolist()))
        study = self._turned(units, l2_clip_norm, sampling_probability)
        if study.privacy.noise == "distributed":
            multiplier = _QUIET_SHARE * math.sqrt(len(self.names)) / _QUIET_LEVELS
            privacy = replace(study.privacy, levels_per_clip_norm=_QUIET_LEVELS, noise_multiplier=multiplier)
            study = replace(study, privacy=privacy)
        else:
            study = study.with_noise_multiplier(_QUIET_MULTIPLIER)
        return Hospital(study, self.names[0], records, self.vector, self._given)

    def planned(self, name: str, records: Records) -> Hospital:
        """The study's own clip norm, noise and sampling; as many units are declared as there are."""
        units, training = len(set(records.units.tolist())), self.study.training
        study = self._turned(units, self.study.privacy.l2_clip_norm, training.sampling_probability)
        if study.privacy.levels_per_clip_norm is not None:
            # A large network may need finer integers; the noise grows with them.
            levels = max(study.privacy.levels_per_clip_norm, fewest_levels(len(self.vector)))
            study = replace(study, privacy=replace(study.privacy, levels_per_clip_norm=levels))
        return Hospital(study, name, records, self.vector, self._given)

    @cached_property
    def _model(self) -> keras.Model:
        return build_model(self.study) if self._given is None else self._given

    @cached_property
    def _largest_norm(self) -> float:
        return float(np.linalg.norm(self.gradients(self.records(4)), axis=1).max())

    def _turned(self, declared: int, l2_clip_norm: float, sampling_probability: float) -> Study:
        """The study with all hospitals declaring ``declared`` units, one step a round, full resolution."""
        hospitals = len(self.names)
        widest = l2_clip_norm * _HEADROOM * (declared + 16 * self.study.noise_multiplier)
        training = replace(
            self.study.training,
            local_steps=1,
            momentum=0.0,
            sampling_probability=sampling_probability,
            learning_rate=hospitals * declared * sampling_probability,
        )
        if self.study.training.update_range is not None:
            training = replace(training, update_range=min(widest, _LARGEST_RANGE))
        return replace(
            self.study,
            hospitals=dict.fromkeys(self.names, declared),
            training=training,
            # Delta takes no part in training; it must stay below one over the units now declared.
            privacy=replace(self.study.privacy, l2_clip_norm=l2_clip_norm, delta=1e-9),
            secure_aggregation=replace(self.study.secure_aggregation, bits=_BITS),
        )
