"""How well a model does on labelled images: the figures of a medical classifier.

Sensitivity of a class is the share of its images that are recognised; specificity the share of other images
that are not taken for it. The calibration error is the expected gap between confidence and accuracy over 15
equal bins of confidence (Guo et al. 2017, equation 3).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.legacy_keras import keras

_CALIBRATION_BINS = 15
_BATCH = 64
_CONFIDENCE = 0.95


class ClassFigures(msgspec.Struct, frozen=True):
    """One class against the others; a figure without any image behind it is absent."""

    name: str
    images: int
    sensitivity: float | None
    specificity: float | None
    f1: float


class Evaluation(msgspec.Struct, frozen=True):
    """``confusion[i][j]`` counts images of class i that were taken for class j."""

    images: int
    accuracy: float
    macro_f1: float
    calibration_error: float
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]


def predict(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Class probabilities, float64 (n, classes), of ``images`` float32 (n, size, size, 3) in [0, 1]."""
    batches = [
        model(images[start : start + _BATCH], training=False).numpy().astype(np.float64)
        for start in range(0, len(images), _BATCH)
    ]
    logits = np.concatenate(batches)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def evaluate(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> Evaluation:
    """Compare ``probabilities`` (n, classes) with ``labels`` (n,); ValueError if there is no image."""
    if not len(labels):
        raise ValueError("nothing to evaluate: no images")
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    figures = tuple(_figures(confusion, number, name) for number, name in enumerate(classes))
    return Evaluation(
        images=len(labels),
        accuracy=float((predicted == labels).mean()),
        macro_f1=float(np.mean([figure.f1 for figure in figures])),
        calibration_error=_calibration_error(probabilities.max(axis=1), predicted == labels),
        classes=figures,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def wilson_interval(share: float, images: int) -> tuple[float, float]:
    """Where the true share lies, 95 % of the time, after ``share`` of ``images`` independent ones.

    *Source*: Wilson 1927; Brown, Cai and DasGupta 2001, equation 4.
    """
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    reach = z / (1 + z**2 / images) * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _figures(confusion: NDArray[np.int64], number: int, name: str) -> ClassFigures:
    hits = int(confusion[number, number])
    of_class = int(confusion[number].sum())
    taken_for = int(confusion[:, number].sum())
    others = int(confusion.sum()) - of_class
    return ClassFigures(
        name=name,
        images=of_class,
        sensitivity=hits / of_class if of_class else None,
        specificity=1 - (taken_for - hits) / others if others else None,
        f1=2 * hits / (of_class + taken_for) if of_class + taken_for else 0.0,
    )


def _calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    bins = np.minimum((confidence * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))
