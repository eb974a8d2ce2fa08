"""What the accuracy benchmark compares: each way from training images to probabilities for others.

Federations run fedpriv's own trainers, integer sums and server step; only the network between them is left
out. Nothing is seeded where noise protects somebody, so repetitions differ as real runs do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from fedpriv.coordinator.server_step import at_start, moved
from fedpriv.dp.sampling import PoissonSampler
from fedpriv.model.evaluate import predict
from fedpriv.model.network import build_model, split_front
from fedpriv.model.plain_step import PlainStep
from fedpriv.model.weights import from_vector, to_vector
from fedpriv.node.trainer import front_maps
from fedpriv.node.training import trainer_for
from fedpriv.study import Study, load_study

if TYPE_CHECKING:
    from accuracy_images import Smears
    from numpy.typing import NDArray

CONFIGS = Path(__file__).parents[1] / "configs"

STUDIES = {
    "no noise": "all-pbs-none.toml",
    "local, epsilon 3": "all-pbs-local-epsilon-3.toml",
    "local, epsilon 8": "all-pbs-local.toml",
    "distributed, epsilon 1": "all-pbs-epsilon-1.toml",
    "distributed, epsilon 3": "all-pbs.toml",
    "distributed, epsilon 8": "all-pbs-epsilon-8.toml",
}
COLOUR_SVM, HISTOGRAMS, CENTRAL, FEDERATED = "colour SVM", "linear on histograms", "central", "no noise"
METHODS = (COLOUR_SVM, HISTOGRAMS, CENTRAL, *STUDIES)
DETERMINISTIC = frozenset({COLOUR_SVM, HISTOGRAMS, CENTRAL, FEDERATED})
"""Full batches, no noise, one start: a second run gives the same model but for the coins of the code."""

LEAVE_ONE_OUT = (COLOUR_SVM, "distributed, epsilon 8", "distributed, epsilon 3", HISTOGRAMS)

_CURVE_EVERY = 5
_BINS = 16


@dataclass(frozen=True)
class Outcome:
    """``probabilities`` float64 (n, classes) of the images asked for; accuracy after some of the rounds."""

    probabilities: NDArray[np.float64]
    curve: dict[int, float]


@dataclass(frozen=True)
class Task:
    """Positions of training images by hospital, and of those to be judged."""

    training: dict[str, NDArray[np.int64]]
    judged: NDArray[np.int64]

    @property
    def pooled(self) -> NDArray[np.int64]:
        """All training images."""
        return np.concatenate(list(self.training.values()))


def task_of(smears: Smears, left_out: str | None) -> Task:
    """Train to test; or the training images of all other hospitals to every image of ``left_out``."""
    names = [name for name in smears.names if name != left_out]
    training = {name: smears.places(split="train", hospital=name) for name in names}
    return Task(
        training, smears.places(split="test") if left_out is None else smears.places(hospital=left_out)
    )


class Runner:
    """One method on one task; what repetitions share (front maps, trainers) is made once."""

    def __init__(self, method: str, smears: Smears, task: Task) -> None:
        self._smears, self._task = smears, task
        if method == COLOUR_SVM:
            self._run = self._colour_svm
        elif method == HISTOGRAMS:
            self._run = self._histograms
        elif method == CENTRAL:
            self._run = self._central
        else:
            self._federation = _Federation(study_for(method, task), smears, task)
            self._run = self._federation.run

    def run(self) -> Outcome:
        """Train once more, and judge."""
        return self._run()

    def _colour_svm(self) -> Outcome:
        """Mean and standard deviation of each colour channel, and a support vector machine."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        pixels = self._smears.images.reshape(len(self._smears.labels), -1, 3)
        statistics = np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)
        machine = make_pipeline(StandardScaler(), SVC(C=30, probability=True, random_state=0))
        return self._fitted(machine, statistics)

    def _histograms(self) -> Outcome:
        """Multinomial logistic regression on histograms of 16 bins for each colour channel."""
        from sklearn.linear_model import LogisticRegression

        bins = np.minimum((self._smears.images * _BINS).astype(int), _BINS - 1)
        counts = np.stack([(bins == number).mean(axis=(1, 2)) for number in range(_BINS)], axis=-1)
        return self._fitted(LogisticRegression(C=1000, max_iter=5000), counts.reshape(len(counts), -1))

    def _fitted(self, machine: object, features: NDArray[np.float64]) -> Outcome:
        machine.fit(features[self._task.pooled], self._smears.labels[self._task.pooled])
        return Outcome(machine.predict_proba(features[self._task.judged]).astype(np.float64), {})

    def _central(self) -> Outcome:
        """The network without noise, trained as the federation's would be if all images lay in one place."""
        study = study_for(FEDERATED, self._task)
        front, trunk = split_front(build_model(study))
        places = self._task.pooled
        sampler = PoissonSampler(np.arange(len(places)), sampling_probability=1.0, records_per_unit=1)
        maps, labels = front_maps(front, self._smears.images[places]), self._smears.labels[places]
        step = PlainStep(trunk, maps, labels.astype(np.int32), sampler, expected_units=len(places))
        weights = to_vector(trunk).astype(np.float64)
        velocity = np.zeros_like(weights)
        for _ in range(study.steps):
            from_vector(trunk, weights.astype(np.float32))
            velocity = study.training.momentum * velocity + step.gradient()
            weights -= study.training.learning_rate * velocity
        from_vector(trunk, weights.astype(np.float32))
        return Outcome(predict(trunk, front_maps(front, self._smears.images[self._task.judged])), {})


class _Federation:
    """Every hospital's trainer, the plain sum of what they send, and the coordinator's step."""

    def __init__(self, study: Study, smears: Smears, task: Task) -> None:
        self._study = study
        front, self._trunk = split_front(build_model(study))
        self._start = to_vector(self._trunk)
        self._judged = front_maps(front, smears.images[task.judged])
        self._labels = smears.labels[task.judged]
        self._trainers = {
            name: trainer_for(
                study, name, smears.images[places], smears.labels[places], np.arange(len(places))
            )
            for name, places in task.training.items()
        }

    def run(self) -> Outcome:
        progress = at_start(self._start)
        curve = {}
        for number in range(1, self._study.training.rounds + 1):
            total = sum(trainer.train(progress.vector) for trainer in self._trainers.values())
            progress = moved(self._study, progress, total, self._study.names, number)
            if number % _CURVE_EVERY == 0:
                hits = self._judge(progress.published).argmax(axis=1) == self._labels
                curve[number] = float(hits.mean())
        return Outcome(self._judge(progress.published), curve)

    def _judge(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        from_vector(self._trunk, vector)
        return predict(self._trunk, self._judged)


def study_for(method: str, task: Task) -> Study:
    """The study of ``method`` for the hospitals of ``task``, which declare what they have."""
    agreed = _study(STUDIES[method])
    units = {name: len(places) for name, places in task.training.items()}
    if set(units) == set(agreed.hospitals):
        return agreed
    # One hospital fewer: the same noise multiplier is carried by one share fewer.
    hospitals, rules = len(units), agreed.secure_aggregation
    threshold = (hospitals + rules.colluders) // 2 + 1
    rules = replace(rules, smallest_cohort=threshold, dropouts=min(rules.dropouts, hospitals - threshold))
    return replace(agreed, hospitals=units, secure_aggregation=rules)


@cache
def _study(name: str) -> Study:
    return load_study(CONFIGS / name)
