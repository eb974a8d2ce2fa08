"""What right guesses about one run prove: a lower bound on epsilon, and the highest one that could come out.

*Formal guarantee*: if each of m canaries was in by a fair coin, the run is (epsilon, delta)-private for one
canary and the r guesses were chosen from the run's output alone, then :func:`epsilon_lower_bound` exceeds
epsilon with probability at most ``error``. A run that is more private than claimed never shows it.

*Edge cases*: guesses no better than coins give 0. All right gives :func:`epsilon_ceiling`, which depends on r
alone up to delta: a claim above it cannot be contradicted, however wrong it is.

*Source*: Steinke, Nasr and Jagielski 2023, "Privacy auditing with one (1) training run" (arXiv 2305.08846),
the theorem for approximate differential privacy.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

ERROR = 0.05
"""The probability that a bound is too high."""

_PRECISION = 1e-6
_LARGEST_EPSILON = 100.0
_SHARES_OF_CANARIES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


def epsilon_lower_bound(
    canaries: int, guesses: int, right: int, *, delta: float, error: float = ERROR
) -> float:
    """The largest epsilon that ``right`` of ``guesses`` on ``canaries`` refute, 0 if none; rounded down.

    Raises ValueError unless 0 <= right <= guesses <= canaries.
    """
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"{right} right of {guesses} guesses on {canaries} canaries is no outcome")
    if chance_of(canaries, guesses, right, epsilon=0.0, delta=delta) > error:
        return 0.0
    lower, upper = 0.0, _LARGEST_EPSILON
    while upper - lower > _PRECISION:
        middle = (lower + upper) / 2
        if chance_of(canaries, guesses, right, epsilon=middle, delta=delta) <= error:
            lower = middle
        else:
            upper = middle
    return lower


def epsilon_ceiling(canaries: int, guesses: int, *, delta: float, error: float = ERROR) -> float:
    """The bound if every guess is right: no outcome of so many guesses gives more."""
    return epsilon_lower_bound(canaries, guesses, guesses, delta=delta, error=error)


def chance_of(canaries: int, guesses: int, right: int, *, epsilon: float, delta: float) -> float:
    """The most that P[so many right, or more] can be under (epsilon, delta): beta + 2 m delta alpha.

    beta = P[Bin(r, q) >= v], q = e^epsilon / (1 + e^epsilon), and
    alpha = max over i in 1..v of (P[Bin(r, q) >= v - i] - beta) / i.
    """
    if right == 0:
        return 1.0
    share = 1.0 / (1.0 + math.exp(-epsilon))
    beta = float(stats.binom.sf(right - 1, guesses, share))
    fewer = np.arange(1, right + 1)
    alpha = float(np.max((stats.binom.sf(right - fewer - 1, guesses, share) - beta) / fewer))
    return min(1.0, beta + 2 * canaries * delta * alpha)


def planned_guesses(canaries: int, separation: float, *, delta: float) -> int:
    """How many guesses show most where scores are ``separation`` deviations apart; an even number.

    Half of them call the highest scores in, half the lowest out. To be chosen before the run is looked at:
    whoever tries several numbers and keeps the best has no bound.
    """

    def expected_bound(guesses: int) -> float:
        # The score above which guesses / 2 of an even mixture of N(0, 1) and N(separation, 1) lie.
        tail = guesses / (2 * canaries)
        scores = np.linspace(-8.0, 8.0 + separation, 4_001)
        inside, outside = stats.norm.sf(scores - separation), stats.norm.sf(scores)
        place = int(np.argmax((inside + outside) / 2 <= tail))
        share = float(inside[place] / (inside[place] + outside[place]))
        return epsilon_lower_bound(canaries, guesses, round(guesses * share), delta=delta)

    choices = sorted({max(2, 2 * round(canaries * share / 2)) for share in _SHARES_OF_CANARIES})
    return max((choice for choice in choices if choice <= canaries), key=expected_bound)
