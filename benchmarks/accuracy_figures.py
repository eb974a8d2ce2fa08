"""From predictions to figures: means with intervals, medical figures, paired tests."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from fedpriv.model.evaluate import evaluate, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def over_repetitions(values: Sequence[float]) -> Interval:
    """Student's interval of the mean; a single value is its own interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, mean, mean)
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - reach, mean + reach)


def over_images(accuracy: float, images: int) -> Interval:
    """Wilson's interval for the accuracy on other images from the same source (Wilson 1927)."""
    return Interval(accuracy, *wilson_interval(accuracy, images))


def summary(
    labels: NDArray[np.int64], runs: Sequence[NDArray[np.float64]], classes: tuple[str, ...]
) -> dict[str, object]:
    """Means over the repetitions ``runs`` of one method; the confusion matrix is their sum."""
    results = [evaluate(probabilities, labels, classes) for probabilities in runs]
    accuracy = over_repetitions([result.accuracy for result in results])
    return {
        "repetitions": len(results),
        "images": len(labels),
        "accuracies": [result.accuracy for result in results],
        "accuracy": asdict(accuracy),
        "accuracy_over_images": asdict(over_images(accuracy.mean, len(labels))),
        "macro_f1": asdict(over_repetitions([result.macro_f1 for result in results])),
        "calibration_error": asdict(over_repetitions([result.calibration_error for result in results])),
        "classes": [
            {
                "name": name,
                "sensitivity": float(np.mean([result.classes[number].sensitivity for result in results])),
                "specificity": float(np.mean([result.classes[number].specificity for result in results])),
            }
            for number, name in enumerate(classes)
        ],
        "confusion": np.sum([result.confusion for result in results], axis=0).tolist(),
    }


def paired_tests(
    labels: NDArray[np.int64], runs: Mapping[str, Sequence[NDArray[np.float64]]]
) -> list[dict[str, object]]:
    """McNemar's exact test of every two methods on their pooled answers, Holm's correction over all pairs.

    Repetition i of one meets repetition i of the other; a method with one repetition meets all with it.
    Pooled answers to the same image are not independent, so a small p says less than it seems.
    """
    hits = {name: [run.argmax(axis=1) == labels for run in found] for name, found in runs.items()}
    rows: list[dict[str, object]] = []
    for first, second in itertools.combinations(runs, 2):
        count = max(len(hits[first]), len(hits[second]))
        one, other = (
            np.concatenate([hits[name][number % len(hits[name])] for number in range(count)])
            for name in (first, second)
        )
        only_first, only_second = int((one & ~other).sum()), int((~one & other).sum())
        discordant = only_first + only_second
        p = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
        rows.append(
            {"first": first, "second": second, "only_first": only_first, "only_second": only_second, "p": p}
        )
    corrected = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row["p"])):
        corrected = min(1.0, max(corrected, (len(rows) - rank) * row["p"]))
        row["p_holm"] = corrected
    return rows
