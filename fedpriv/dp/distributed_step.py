"""A hospital's term of a federated private gradient: integers, with its share of the noise in them.

*Formal guarantee*: each result of :meth:`DistributedStep.integer_sum` is the sum over a fresh Poisson sample
of integer vectors, one a unit, each of L2 norm at most ``levels`` and a function of that unit alone, plus a
fresh share of noise. The sum of all hospitals' results is then covered by :mod:`fedpriv.dp.noise_shares`; a
single result is **not** private enough by itself and must go into a masked sum only.

*Edge cases*: an empty sample gives noise alone, in the same way. A unit whose gradient is not finite, and
padding, contribute exactly zero. Time depends on the number of chunks, so in full batches the sampler fills
up to a public number of units.

*Source*: Kairouz, Liu and Steinke 2021, algorithm 1, without its rotation: with many levels rounding adds
next to nothing to flatten.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.dp.chunks import equal_chunks
from fedpriv.dp.clipping import clipped_gradients
from fedpriv.dp.discrete_gaussian import discrete_gaussian
from fedpriv.dp.memory import records_per_chunk
from fedpriv.dp.records import HeldRecords
from fedpriv.dp.rounding import SHARE, fewest_levels, round_units
from fedpriv.legacy_keras import tf

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from fedpriv.dp.noise_shares import NoiseShares
    from fedpriv.dp.sampling import PoissonSampler
    from fedpriv.legacy_keras import keras


_MOST_RECORDS = 64
"""In a chunk: chunks are of one size, and the last one is filled up."""

_ROUNDED_AT_ONCE = 1 << 15
"""Numbers; rounding makes copies of them, which then fit a processor's cache."""


class DistributedStep:
    """Integer gradients of a model's softmax cross-entropy over the records of one hospital.

    ``images`` float32 (records, *shape) and ``labels`` int32 (records,) stay here. An integer stands for
    ``l2_clip_norm`` / ``shares.levels``. Raises ValueError for a clip norm that is not positive and finite,
    and for fewer levels than rounding this many parameters needs.
    """

    def __init__(
        self,
        model: keras.Model,
        images: NDArray[np.float32],
        labels: NDArray[np.int32],
        sampler: PoissonSampler,
        *,
        l2_clip_norm: float,
        shares: NoiseShares,
    ) -> None:
        if not (math.isfinite(l2_clip_norm) and l2_clip_norm > 0):
            raise ValueError(f"l2_clip_norm is {l2_clip_norm}, must be positive and finite")
        self._dimension = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        if shares.levels < fewest_levels(self._dimension):
            raise ValueError(
                f"{shares.levels} levels to a clip norm are too few for {self._dimension} parameters, which "
                f"need {fewest_levels(self._dimension)}"
            )
        self._sampler = sampler
        self._l2_clip_norm = l2_clip_norm
        self._shares = shares
        places = sampler.records_per_unit
        most = min(_MOST_RECORDS, records_per_chunk(model, places))
        self._units_per_chunk = max(1, most // places)
        self._beside = ThreadPoolExecutor(max_workers=1)
        held = HeldRecords(images, labels)

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec((self._units_per_chunk, places), tf.int32)]
        )
        def chunk_gradients(places: tf.Tensor) -> tf.Tensor:
            return clipped_gradients(model, *held.take(places), l2_clip_norm=SHARE * l2_clip_norm)

        self._chunk_gradients = chunk_gradients

    def integer_sum(self) -> NDArray[np.int64]:
        """One term for the masked sum, int64 (trainable parameters,), in the order of weights.

        Noise is drawn and gradients are rounded in a thread beside TensorFlow's, which leave room for it.
        """
        noise = self._beside.submit(discrete_gaussian, self._dimension, self._shares.standard_deviation)
        total = self._rounded_sum(self._sampler.draw())
        total += noise.result()
        return total

    def _rounded_sum(self, sample: NDArray[np.int64]) -> NDArray[np.int64]:
        """What noise must hide: it stays in this object. A chunk is rounded while the next is computed."""
        total = np.zeros(self._dimension, dtype=np.int64)
        rounding: Future[NDArray[np.int64]] | None = None
        for places in equal_chunks(sample, self._units_per_chunk):
            gradients = self._chunk_gradients(places).numpy()
            if rounding:  # no more than two chunks' gradients at once
                total += rounding.result()
            rounding = self._beside.submit(self._rounded_chunk, gradients)
        if rounding:
            total += rounding.result()
        return total

    def _rounded_chunk(self, gradients: NDArray[np.float32]) -> NDArray[np.int64]:
        total = np.zeros(self._dimension, dtype=np.int64)
        rows = max(1, _ROUNDED_AT_ONCE // self._dimension)
        for start in range(0, len(gradients), rows):
            some = gradients[start : start + rows]
            total += round_units(some, self._l2_clip_norm, self._shares.levels).sum(axis=0)
        return total
