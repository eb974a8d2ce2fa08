"""Is the noise what the study says? Each check sees a fault that is invisible to the others.

All look at hospitals whose clip norm drowns every record (`Bench.loud`), so that rounds over real batches
show the noise alone, as it goes into the masked sum.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.audit.finding import Finding
from fedpriv.audit.statistics import (
    FALSE_ALARM,
    chance_to_miss,
    normality_p,
    repeated_share,
    repetition_p,
    variance_p,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.audit.bench import Bench

_RELEASES = 8
_RECORDS = 16
_PIECES = 2
"""Each release is cut in two, so that noise repeated within a release is found as well."""

_ALMOST_NEVER = 1e-6
_EMPTY_TOLERANCE = 0.25


class NoiseChecks:
    """Checks of the noise of two hospitals of ``bench``, over the same releases."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def variance(self) -> Finding:
        """The planned standard deviation in every release."""
        ratios = np.sqrt(np.mean(self._own**2, axis=1))
        p_value = variance_p(self._own)
        missed = chance_to_miss(0.9, self._own.shape[1], _RELEASES)
        return Finding(
            holds=p_value >= FALSE_ALARM,
            observed=f"deviation {ratios.min():.3f} to {ratios.max():.3f} of the planned one",
            p_value=p_value,
            catches=f"0.9 times the noise, missed once in {1 / max(missed, 1e-99):.0e}",
        )

    def normality(self) -> Finding:
        """The normal distribution, whatever its variance."""
        p_value = normality_p(self._own)
        return Finding(
            holds=p_value >= FALSE_ALARM,
            observed=f"{self._own.shape[1]} coordinates a release against a normal distribution",
            p_value=p_value,
            catches="Laplace or uniform noise of the right variance",
        )

    def steps(self) -> Finding:
        """Nothing in common between the rounds, or between the parts of a round, of one hospital."""
        pieces = _cut(self._own)
        p_value = repetition_p(pieces)
        return Finding(
            holds=p_value >= FALSE_ALARM,
            observed=f"{len(pieces)} pieces of {_RELEASES} rounds compared at every shift",
            p_value=p_value,
            catches=_repeated(pieces, "a step that is seeded again"),
        )

    def hospitals(self) -> Finding:
        """Nothing in common between the noise of two hospitals."""
        pieces = _cut(self._own)
        p_value = repetition_p(pieces, _cut(self._other))
        return Finding(
            holds=p_value >= FALSE_ALARM,
            observed=f"{len(pieces)} pieces of each of two hospitals compared at every shift",
            p_value=p_value,
            catches=_repeated(pieces, "the same seed at two hospitals"),
        )

    def empty_batch(self) -> Finding:
        """A round in which no record was drawn gives noise of the planned size all the same."""
        hospital = self._bench.loud(
            self._bench.names[0], self._bench.records(_RECORDS), sampling_probability=_ALMOST_NEVER
        )
        deviations = np.std(hospital.releases(_RELEASES), axis=1) / hospital.noise_deviation
        return Finding(
            holds=bool(np.abs(deviations - 1).max() < _EMPTY_TOLERANCE),
            observed=f"deviation {deviations.min():.3f} to {deviations.max():.3f} of the planned one",
            p_value=None,
            catches="an empty batch that is sent as zeros, or refused",
        )

    @cached_property
    def _own(self) -> NDArray[np.float64]:
        return self._releases(0)

    @cached_property
    def _other(self) -> NDArray[np.float64]:
        return self._releases(1)

    def _releases(self, place: int) -> NDArray[np.float64]:
        """Standardised noise of one hospital, (releases, d)."""
        hospital = self._bench.loud(self._bench.names[place], self._bench.records(_RECORDS))
        return hospital.releases(_RELEASES) / hospital.noise_deviation


def _cut(releases: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pieces (k * _PIECES, d // _PIECES)."""
    length = releases.shape[1] // _PIECES
    return releases[:, : length * _PIECES].reshape(-1, length)


def _repeated(pieces: NDArray[np.float64], example: str) -> str:
    share = repeated_share(*pieces.shape)
    return f"{example}; any piece that repeats {share:.0%} of another"
