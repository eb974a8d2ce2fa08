"""One private gradient: a Poisson sample, per-unit clipping, noise, and division by a public constant.

*Formal guarantee*: with clip norm C, noise multiplier z and a sampler of probability q, each result of
:meth:`PrivateStep.gradient` is (sum over sampled units of terms of norm at most C, plus a fresh normal vector
of standard deviation z C) / expected units a step. That is the event ``sampler.event(z, 1)``; what is
computed from results alone (momentum, averaging, limiting a coordinate's range) costs nothing more.

*Edge cases*: an empty sample is released as noise alone, in the same way. Padding contributes exactly zero.
Time depends on the number of chunks, so in full batches the sampler fills up to a public number of units.

The sum over a chunk is compiled once, for chunks of any size.

*Source*: Abadi et al. 2016, algorithm 1, with Poisson sampling and the expected batch in the denominator.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.chunks import padded_chunks
from fedpriv.dp.clipping import clipped_gradient_sum
from fedpriv.dp.memory import records_per_chunk
from fedpriv.dp.noise import gaussian_noise
from fedpriv.dp.records import HeldRecords
from fedpriv.legacy_keras import tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.dp.sampling import PoissonSampler
    from fedpriv.legacy_keras import keras


_CHUNKS_AT_ONCE = 2


class PrivateStep:
    """Private gradients of a model's softmax cross-entropy over the records of one hospital.

    ``images`` float32 (records, *shape) and ``labels`` int32 (records,) stay here. ``expected_units`` is the
    declared number of units times the sampling probability: a public constant, never the realised batch.
    Raises ValueError for a clip norm, a multiplier or an expectation that is not positive and finite.
    """

    def __init__(
        self,
        model: keras.Model,
        images: NDArray[np.float32],
        labels: NDArray[np.int32],
        sampler: PoissonSampler,
        *,
        l2_clip_norm: float,
        noise_multiplier: float,
        expected_units: float,
    ) -> None:
        for name, value in (
            ("l2_clip_norm", l2_clip_norm),
            ("noise_multiplier", noise_multiplier),
            ("expected_units", expected_units),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, must be positive and finite")
        self._sampler = sampler
        self._noise_deviation = noise_multiplier * l2_clip_norm
        self._expected_units = expected_units
        self._dimension = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        self._most_records = records_per_chunk(model, sampler.records_per_unit)
        self._threads = ThreadPoolExecutor(max_workers=_CHUNKS_AT_ONCE)
        held = HeldRecords(images, labels)

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec((None, sampler.records_per_unit), tf.int32)]
        )
        def chunk_sum(places: tf.Tensor) -> tf.Tensor:
            sums = clipped_gradient_sum(model, *held.take(places), l2_clip_norm=l2_clip_norm)
            return tf.concat([tf.reshape(part, [-1]) for part in sums], axis=0)

        self._chunk_sum = chunk_sum

    def gradient(self) -> NDArray[np.float64]:
        """One release: the noised mean gradient, shape (trainable parameters,), in the order of weights.

        Noise is drawn in a thread beside TensorFlow's, which leave room for it.
        """
        noise = self._threads.submit(gaussian_noise, self._dimension, self._noise_deviation)
        total = self._clipped_sum(self._sampler.draw())
        total += noise.result()
        return total / self._expected_units

    def _clipped_sum(self, sample: NDArray[np.int64]) -> NDArray[np.float64]:
        """What noise must hide: it stays in this object. Two chunks at a time leave no core idle."""
        total = np.zeros(self._dimension)
        chunks = padded_chunks(sample, self._most_records, at_once=_CHUNKS_AT_ONCE)
        for part in self._threads.map(self._chunk_sum, chunks):
            total += part.numpy()
        return total
