"""Two scores of how surely an image was trained on, and what they come to against the truth.

*Source*: Yeom et al. 2018 (loss threshold); Carlini et al. 2022, "Membership inference attacks from first
principles", section V: the likelihood ratio attack (LiRA), online, with one variance for all images, as is
advised for few shadow models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TINY = 1e-12
_FALSE_POSITIVES = (0.001, 0.01, 0.05, 0.1)
_FEWEST_BEYOND = 10
"""Non-members that must lie beyond a threshold for its false-positive rate to mean anything."""


def loss_score(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Less loss, more likely a member: log of the probability of the true class."""
    return np.asarray(np.log(confidence + _TINY))


def logit(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), which is near normal over models: equation 4 of Carlini et al."""
    return np.asarray(np.log(confidence + _TINY) - np.log(1 - confidence + _TINY))


def likelihood_ratio(
    target: NDArray[np.float64], shadows: NDArray[np.float64], inside: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Log of P[target | in] / P[target | out] for each image.

    ``target`` (n,) and ``shadows`` (models, n) are logits; ``inside`` (models, n) says which shadow was
    trained on which image. An image that is in all shadows, or in none, is scored 0.
    """
    both = inside.any(axis=0) & ~inside.all(axis=0)
    mean_in, spread_in = _moments(shadows, inside)
    mean_out, spread_out = _moments(shadows, ~inside)
    ratio = stats.norm.logpdf(target, mean_in, spread_in) - stats.norm.logpdf(target, mean_out, spread_out)
    return np.where(both, ratio, 0.0)


def area_under_curve(scores: NDArray[np.float64], members: NDArray[np.bool_]) -> float:
    """The probability that a member scores above a non-member; half for none better than coins."""
    inside, outside = scores[members], scores[~members]
    statistic = float(stats.mannwhitneyu(inside, outside).statistic)
    return statistic / (len(inside) * len(outside))


def measurable_rate(non_members: int) -> float | None:
    """The smallest false-positive rate that so many non-members can measure: ten must lie beyond it."""
    return next((rate for rate in _FALSE_POSITIVES if non_members * rate >= _FEWEST_BEYOND), None)


def true_positives(scores: NDArray[np.float64], members: NDArray[np.bool_], rate: float) -> float:
    """The share of members above a threshold that at most ``rate`` of non-members pass."""
    outside = np.sort(scores[~members])[::-1]
    return float(np.mean(scores[members] > outside[int(rate * len(outside))]))


def _moments(shadows: NDArray[np.float64], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Each image's mean over the chosen models, and one deviation for all images."""
    count = np.maximum(chosen.sum(axis=0), 1)
    means = np.where(chosen, shadows, 0.0).sum(axis=0) / count
    around = np.square(shadows - means)[chosen]
    return means, float(np.sqrt(around.mean())) + _TINY
