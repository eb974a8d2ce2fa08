"""What releases cost: composed (epsilon, delta), noise for a target, and the line about 100 candidates.

Every release is a *Poisson-subsampled Gaussian*: each unit joins a step independently with a known
probability, the sum of contributions of norm at most C gets Gaussian noise of standard deviation
``noise_multiplier * C``.

*Formal guarantee*: :func:`composed_epsilon` bounds epsilon at the given delta for the adaptive composition
of all events, under the **add-or-remove-one-unit** relation (neighbours differ in the presence of one unit;
the divisor and the number of units are public constants). The privacy loss distribution (PLD) is computed
pessimistically, so discretisation never lowers the value; Renyi (RDP) is an independent and looser bound
that checks it.

*Edge cases*: no event, no step or probability 0 costs exactly 0; noise multiplier 0 with a step costs
infinity.

*Source*: Abadi et al. 2016; Mironov, Talwar and Zhang 2019 (RDP of the sampled Gaussian); Koskela et al.
2020, Doroshenko et al. 2022 (PLD, "connect the dots"); the implementation is Google's dp_accounting,
imported on first use (0.8 s).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

_CELLS_PER_EPSILON = 3_000
"""Privacy loss is cut into cells of this share of the RDP epsilon: memory stays small, and up to epsilon 100
the PLD epsilon is at most 0.1 % too large."""

_SMALLEST_EPSILON = 1e-4
"""Cells are cut no finer than for this one: the RDP epsilon of much noise is 0."""

_MULTIPLIERS_PER_UNIT = 10_000
"""Noise multipliers are planned on a grid of 0.0001 and rounded up to it."""

_LARGEST_MULTIPLIER = 2**16

_END_OF_CURVE = 1e-12
_SAMPLES_OF_CURVE = 101

_CURVE_POINTS = 2_000
"""Epsilons at which the bound on candidates is evaluated; fewer would only make it larger."""


class PrivacyEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``steps`` sampled Gaussian releases, one after the other, of the same unit and clip norm.

    ``noise_multiplier`` is the noise's standard deviation over the clip norm, ``sampling_probability`` is
    that of each unit in each step. Raises ValueError for a number out of range.
    """

    noise_multiplier: float
    sampling_probability: float
    steps: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise ValueError(f"noise_multiplier is {self.noise_multiplier}, must be finite and at least 0")
        if not 0 <= self.sampling_probability <= 1:
            raise ValueError(f"sampling_probability is {self.sampling_probability}, must lie in [0, 1]")
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}, must be at least 0")


@dataclass(frozen=True, slots=True)
class Epsilon:
    """Two bounds on one composition at one delta: ``pld`` is reported, ``rdp >= pld`` checks it."""

    rdp: float
    pld: float


def warm_up() -> None:
    """Import the accountants now: a round must not wait for it."""
    composed_epsilon([PrivacyEvent(noise_multiplier=1.0, sampling_probability=1.0, steps=1)], delta=1e-5)


def composed_epsilon(events: Iterable[PrivacyEvent], delta: float, *, group_size: int = 1) -> Epsilon:
    """Epsilon at ``delta`` of all events together, in any order and however adaptively they were chosen.

    With a ``group_size``, for so many units that come and go together (:mod:`fedpriv.dp.group_loss`).
    Raises ValueError unless 0 < delta < 1 and the group has a unit.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}, must lie between 0 and 1")
    if group_size < 1:
        raise ValueError(f"group_size is {group_size}, must be at least 1")
    releases = _merge(events)
    if not releases:
        return Epsilon(rdp=0.0, pld=0.0)
    if any(event.noise_multiplier == 0 for event in releases):
        return Epsilon(rdp=math.inf, pld=math.inf)
    rdp = coarse = _renyi_epsilon([group_event(event, group_size) for event in releases], delta)
    if group_size > 1:  # only how fine to cut, so it may be low
        coarse = min(rdp, group_size * _renyi_epsilon(releases, delta))
    losses = _loss_distribution(releases, coarse, group_size)
    return Epsilon(rdp=rdp, pld=float(losses.get_epsilon_for_delta(delta)))


def privacy_curve(events: Iterable[PrivacyEvent], epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Delta at each epsilon (float64, ascending, at least 0): the whole trade-off of the composition."""
    import numpy as np

    releases = _merge(events)
    if not releases:
        return np.zeros(len(epsilons))
    if any(event.noise_multiplier == 0 for event in releases):
        return np.ones(len(epsilons))
    coarse = _renyi_epsilon(releases, delta=1e-5)
    return np.asarray(_loss_distribution(releases, coarse).get_delta_for_epsilon(epsilons), dtype=np.float64)


def epsilon_course(events: Sequence[PrivacyEvent], delta: float, counts: Sequence[int]) -> list[float]:
    """Epsilon at ``delta`` after the first so many events, for each of the rising ``counts``.

    Every mechanism is cut into cells once, fine against the whole; so early values are a little too large.
    """
    whole = [event for event in _merge(events) if event.noise_multiplier]
    interval = _interval(_renyi_epsilon(whole, delta)) if whole else _SMALLEST_EPSILON
    one_step = functools.cache(functools.partial(_one_step, interval=interval))
    found, releases = [], list[PrivacyEvent]()
    for start, stop in itertools.pairwise([0, *counts]):
        releases = _merge([*releases, *events[start:stop]])
        if any(event.noise_multiplier == 0 for event in releases):
            found.append(math.inf)
        else:
            found.append(float(_compose(releases, interval, one_step).get_epsilon_for_delta(delta)))
    return found


def sampled_curve(events: Iterable[PrivacyEvent]) -> tuple[tuple[float, float], ...]:
    """101 points (epsilon, delta) of the curve, from epsilon 0 to where delta is 1e-12.

    Where nothing was released the whole answer is (0, 0), without noise (0, 1).
    """
    import numpy as np

    releases = _merge(events)
    if not releases:
        return ((0.0, 0.0),)
    if any(event.noise_multiplier == 0 for event in releases):
        return ((0.0, 1.0),)
    losses = _loss_distribution(releases, _renyi_epsilon(releases, delta=1e-5))
    epsilons = np.linspace(0.0, losses.get_epsilon_for_delta(_END_OF_CURVE), _SAMPLES_OF_CURVE)
    return tuple(zip(epsilons.tolist(), losses.get_delta_for_epsilon(epsilons).tolist(), strict=True))


def candidate_success(events: Iterable[PrivacyEvent], candidates: int = 100) -> float:
    """The most often that an attacker picks the right one of N equally likely candidates, knowing all else.

    min over epsilon of e^epsilon / N + delta(epsilon), never below the guess 1 / N. For each candidate i,
    P[guess i | i was in] <= e^epsilon P[guess i | none was in] + delta; averaging over i, the middle
    probabilities sum to at most 1.
    """
    import numpy as np

    if candidates < 1:
        raise ValueError(f"candidates is {candidates}, must be at least 1")
    epsilons = np.linspace(0.0, math.log(candidates), _CURVE_POINTS)
    bounds = np.exp(epsilons) / candidates + privacy_curve(events, epsilons)
    return float(min(1.0, bounds.min()))


def group_event(event: PrivacyEvent, units: int) -> PrivacyEvent:
    """What costs at least as much as ``event`` costs a group of ``units``, added or removed together.

    At least one of u units joins a step with probability 1 - (1 - p)^u, and together they move the sum by at
    most u clip norms. A sampled Gaussian of just that probability and shift dominates: shrinking its output
    by v/u and adding the variance that is lost turns a shift of u into a shift of v <= u, drawn as those who
    did join would draw it, and leaves noise alone as it is. So the true pair of distributions is a
    post-processing of this one, in both directions of neighbours. Raises ValueError for less than one unit.
    """
    if units < 1:
        raise ValueError(f"units is {units}, must be at least 1")
    absent = (1.0 - event.sampling_probability) ** units
    return PrivacyEvent(event.noise_multiplier / units, 1.0 - absent, event.steps)


def noise_multiplier_for(epsilon: float, delta: float, sampling_probability: float, steps: int) -> float:
    """The noise multiplier at which ``steps`` steps cost ``epsilon`` by PLD, rounded up to meet it.

    The grid is 0.0001. Raises ValueError if epsilon is not positive, or epsilon or delta so small that a
    multiplier of 65,536 does not meet them.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}, must be positive")
    from scipy import optimize

    def excess_by_renyi(multiplier: float) -> float:
        return _renyi_epsilon([PrivacyEvent(multiplier, sampling_probability, steps)], delta) - epsilon

    def excess(multiplier: float) -> float:
        return composed_epsilon([PrivacyEvent(multiplier, sampling_probability, steps)], delta).pld - epsilon

    # Renyi is quick where noise is small, and asks for more: it finds the upper end of the dear search.
    upper = 1.0
    while excess_by_renyi(upper) > 0:
        upper *= 2
        if upper > _LARGEST_MULTIPLIER:
            raise ValueError(f"no noise multiplier up to {_LARGEST_MULTIPLIER} reaches epsilon {epsilon}")
    if excess(upper) > 0:
        raise ValueError(f"delta {delta} is below what the accountant resolves")
    lower = upper / 2
    while excess(lower) <= 0:
        upper, lower = lower, lower / 2
    root = float(optimize.brentq(excess, lower, upper, xtol=0.1 / _MULTIPLIERS_PER_UNIT))
    on_grid = math.ceil(root * _MULTIPLIERS_PER_UNIT)
    while excess(on_grid / _MULTIPLIERS_PER_UNIT) > 0:
        on_grid += 1
    return on_grid / _MULTIPLIERS_PER_UNIT


def _merge(events: Iterable[PrivacyEvent]) -> list[PrivacyEvent]:
    """Add up the steps of equal mechanisms and leave out what touches no unit."""
    steps: Counter[tuple[float, float]] = Counter()
    for event in events:
        if event.steps and event.sampling_probability:
            steps[event.noise_multiplier, event.sampling_probability] += event.steps
    return [PrivacyEvent(noise, probability, count) for (noise, probability), count in steps.items()]


def _renyi_epsilon(releases: list[PrivacyEvent], delta: float) -> float:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    for event in releases:
        gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(event.sampling_probability, gaussian)
        accountant.compose(sampled, event.steps)
    return float(accountant.get_epsilon(delta))


def _loss_distribution(releases: list[PrivacyEvent], coarse_epsilon: float, group_size: int = 1) -> Any:  # noqa: ANN401
    """The PLD of the composition for a group, in cells fine against ``coarse_epsilon``."""
    interval = _interval(coarse_epsilon)
    return _compose(
        releases, interval, functools.partial(_one_step, interval=interval, group_size=group_size)
    )


def _interval(coarse_epsilon: float) -> float:
    return max(coarse_epsilon, _SMALLEST_EPSILON) / _CELLS_PER_EPSILON


def _compose(releases: list[PrivacyEvent], interval: float, one_step: Callable[[float, float], Any]) -> Any:  # noqa: ANN401
    from dp_accounting.pld import privacy_loss_distribution

    composed = privacy_loss_distribution.identity(value_discretization_interval=interval)
    for event in releases:
        one = one_step(event.noise_multiplier, event.sampling_probability)
        composed = composed.compose(one.self_compose(event.steps))
    return composed


def _one_step(
    noise_multiplier: float, sampling_probability: float, *, interval: float, group_size: int = 1
) -> Any:  # noqa: ANN401
    """The PLD of one release."""
    from dp_accounting.pld import privacy_loss_distribution

    from fedpriv.dp.group_loss import group_loss

    if group_size > 1 and sampling_probability < 1:
        return group_loss(noise_multiplier, sampling_probability, group_size, interval)
    return privacy_loss_distribution.from_gaussian_mechanism(
        standard_deviation=noise_multiplier / group_size,
        sampling_prob=sampling_probability,
        value_discretization_interval=interval,
    )
