"""What one record can do to what a hospital sends: at most one clip norm, by a fair coin, and never poison.

All look at hospitals whose noise is turned down (`Bench.quiet`), so that clipped gradients can be read off
what goes into the masked sum, and hold them against gradients computed by another way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.audit.finding import Finding
from fedpriv.audit.statistics import FALSE_ALARM, binomial_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.audit.bench import Bench, Records

_TOLERANCE = 0.01
"""Quiet noise, float32 gradients and rounding to a grid move nothing by more than a tenth of this."""

_STEEP = 20.0
"""How many clip norms long the gradients are where clipping must show."""

_UNITS = 8
_MOST_PER_UNIT = 4
_CANARIES = 32
_DECLARED = 40
_DRAWS = 60
_SAMPLED, _PROBABILITY = 24, 0.5
_PRESENT = 0.25


class RecordChecks:
    """Checks of one hospital of ``bench``; every gradient norm is known beforehand."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def sensitivity(self) -> Finding:
        """Removing one unit moves the sum by at most one clip norm, however long its gradient is."""
        unit = self._bench.records(self._per_unit)
        clip_norm = float(np.linalg.norm(self._bench.gradients(unit).mean(axis=0))) / _STEEP
        whole, rest = (
            self._bench.quiet(unit.repeated(units), l2_clip_norm=clip_norm, declared=_UNITS).releases(1)[0]
            for units in (_UNITS, _UNITS - 1)
        )
        moved = float(np.linalg.norm(whole - rest))
        return Finding(
            holds=moved <= 1 + _TOLERANCE,
            observed=f"removing a unit moved the sum by {moved:.4f} clip norms",
            p_value=None,
            catches=f"no clipping ({_STEEP:g} clip norms), a norm over each layer alone",
        )

    def canary(self) -> Finding:
        """Each of many equal units whose gradient is exactly one clip norm long weighs exactly that."""
        crowd = self._bench.records(1)[[0] * self._per_unit].repeated(_CANARIES)
        weight = self._weight(crowd, declared=_CANARIES) / _CANARIES
        return Finding(
            holds=abs(weight - 1) <= _TOLERANCE,
            observed=f"mean contribution {weight:.4f} clip norms",
            p_value=None,
            catches="microbatches of two (0.5), a mean in place of a sum",
        )

    def divisor(self) -> Finding:
        """A record weighs the same, whatever the batch it happened to be in."""
        weight = self._weight(self._bench.records(1), declared=_DECLARED)
        return Finding(
            holds=abs(weight - 1) <= _TOLERANCE,
            observed=f"alone in a batch where {_DECLARED} are declared, a record weighs {weight:.4f}",
            p_value=None,
            catches=f"division by the batch that was drawn ({_DECLARED})",
        )

    def batch_sizes(self) -> Finding:
        """Who took part, read off the gradients: batch sizes are Binomial."""
        records = self._bench.records(_SAMPLED)
        gradients = self._bench.gradients(records)
        clip_norm = float(np.linalg.norm(gradients, axis=1).max()) * (1 + _TOLERANCE)
        hospital = self._bench.quiet(records, l2_clip_norm=clip_norm, sampling_probability=_PROBABILITY)
        weights = hospital.releases(_DRAWS) @ np.linalg.pinv(gradients) * clip_norm
        # Present or not is told against the largest weight, so that scaling of any kind is another check's.
        largest = np.abs(weights).max(axis=1, keepdims=True)
        sizes = np.sum((weights > _PRESENT * largest) & (largest > _PRESENT), axis=1)
        p_value = binomial_p(sizes, _SAMPLED, _PROBABILITY)
        return Finding(
            holds=p_value >= FALSE_ALARM,
            observed=(
                f"{_DRAWS} batches of {sizes.min()} to {sizes.max()} of {_SAMPLED}, "
                f"variance {sizes.var():.2f}, due {_SAMPLED * _PROBABILITY * (1 - _PROBABILITY):.2f}"
            ),
            p_value=p_value,
            catches="shuffled batches of a fixed size (variance 0)",
        )

    def broken_records(self) -> Finding:
        """A record of NaN or infinity contributes nothing, and spoils nothing."""
        records = self._bench.records(_UNITS + 2)
        records.images[-2], records.images[-1] = np.nan, np.inf
        gradients = self._bench.gradients(records[:_UNITS])
        clip_norm = float(np.linalg.norm(gradients, axis=1).max()) * (1 + _TOLERANCE)
        release = self._bench.quiet(records, l2_clip_norm=clip_norm).releases(1)[0]
        without = gradients.sum(axis=0)
        off = float(np.linalg.norm(_direction(release) - _direction(without)))
        return Finding(
            holds=off <= _TOLERANCE,
            observed=f"with a record of NaN and one of infinity the sum turned by {off:.2g}",
            p_value=None,
            catches="a broken record that passes, or silences the batch",
        )

    @property
    def _per_unit(self) -> int:
        return min(self._bench.study.privacy.images_per_patient or 1, _MOST_PER_UNIT)

    def _weight(self, records: Records, *, declared: int) -> float:
        """The release along the first record's gradient, where that is exactly one clip norm long."""
        gradient = self._bench.gradients(records[:1])[0]
        clip_norm = float(np.linalg.norm(gradient))
        hospital = self._bench.quiet(records, l2_clip_norm=clip_norm, declared=declared)
        return float(hospital.releases(1)[0] @ _direction(gradient))


def _direction(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)
