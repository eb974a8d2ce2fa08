"""How accurate each way of training is, with and without privacy: one table and its plots.

    python benchmarks/accuracy.py [--images DIR] [--repetitions 5] [--out measured/accuracy]
    python benchmarks/accuracy.py --draw docs/measurements/accuracy.json docs/measurements

DIR has a manifest.csv that names hospitals A to E and the splits train and test; without it the folder in
FEDPRIV_REAL_SMEARS is taken, and without that smears are drawn. Each way is trained on the train split and
judged on the test split; then on all hospitals but one, and judged on every image of that one. What was
trained is kept in the folder, and a second call goes on where the first ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from accuracy_figures import over_repetitions, paired_tests, summary
from accuracy_images import CLASSES, Smears, drawn, load
from accuracy_methods import (
    CONFIGS,
    DETERMINISTIC,
    LEAVE_ONE_OUT,
    METHODS,
    STUDIES,
    Runner,
    task_of,
)
from accuracy_plots import draw
from accuracy_tables import tables

import fedpriv

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCES = (
    "model/histogram_front.py",
    "model/pixel_maps.py",
    "model/random_features.py",
    "model/network.py",
)


def fingerprint(smears: Smears) -> str:
    """Changes with the images, the studies and the network: older results are then not taken up."""
    digest = hashlib.sha256(smears.fingerprint.encode())
    package = Path(fedpriv.__file__).parent
    for path in [*(package / name for name in _SOURCES), *(CONFIGS / name for name in STUDIES.values())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cells(smears: Smears, repetitions: int) -> Iterator[tuple[str | None, str, int]]:
    """What is to be trained: (hospital left out, method, how often), the quick and telling first."""
    for method in METHODS:
        yield None, method, 1 if method in DETERMINISTIC else repetitions
    for method in LEAVE_ONE_OUT:
        for left_out in smears.names:
            yield left_out, method, 1


def train_all(smears: Smears, folder: Path, repetitions: int) -> None:
    """Fill ``folder`` with one file for each trained model: its answers, its curve, its seconds."""
    plan = list(cells(smears, repetitions))
    for number, (left_out, method, count) in enumerate(plan, 1):
        missing = [r for r in range(count) if not cell_path(folder, left_out, method, r).exists()]
        if not missing:
            continue
        runner = Runner(method, smears, task_of(smears, left_out))
        for repetition in missing:
            start = time.process_time()
            outcome = runner.run()
            np.savez(
                cell_path(folder, left_out, method, repetition),
                probabilities=outcome.probabilities,
                rounds=np.array(list(outcome.curve), dtype=int),
                curve=np.array(list(outcome.curve.values())),
                cpu_s=time.process_time() - start,
            )
            where = "test" if left_out is None else f"without {left_out}"
            labels = smears.labels[task_of(smears, left_out).judged]
            accuracy = (outcome.probabilities.argmax(axis=1) == labels).mean()
            print(
                f"[{number}/{len(plan)}] {method}, {where}, repetition {repetition + 1}: {accuracy:.2%}",
                flush=True,
            )


def cell_path(folder: Path, left_out: str | None, method: str, repetition: int) -> Path:
    """Where one trained model's answers lie."""
    words = method.replace(",", "").replace(" ", "-")
    return folder / f"{words}.{left_out or 'test'}.{repetition}.npz"


def figures(smears: Smears, folder: Path, repetitions: int) -> dict[str, object]:
    """Every figure of the table and the plots, from what lies in ``folder``."""
    runs, curves, seconds = {}, {}, {}
    labels = smears.labels[smears.places(split="test")]
    for left_out, method, count in cells(smears, repetitions):
        if left_out is not None:
            continue
        loaded = [np.load(cell_path(folder, None, method, r)) for r in range(count)]
        runs[method] = [cell["probabilities"] for cell in loaded]
        seconds[method] = float(np.mean([cell["cpu_s"] for cell in loaded]))
        if len(loaded[0]["rounds"]):
            mean_curve = np.mean([cell["curve"] for cell in loaded], axis=0)
            curves[method] = {"rounds": loaded[0]["rounds"].tolist(), "accuracy": mean_curve.tolist()}
    left_out_rows = {}
    for method in LEAVE_ONE_OUT:
        by_hospital = {}
        for name in smears.names:
            answers = np.load(cell_path(folder, name, method, 0))["probabilities"].argmax(axis=1)
            by_hospital[name] = float((answers == smears.labels[smears.places(hospital=name)]).mean())
        left_out_rows[method] = {
            "hospitals": by_hospital,
            "mean": over_repetitions(list(by_hospital.values())).mean,
        }
    hospitals = smears.hospitals[smears.places(split="test")]
    return {
        "training_images": len(smears.places(split="train")),
        "test_images": len(labels),
        "methods": {
            method: {
                **summary(labels, found, CLASSES),
                "cpu_s": seconds[method],
                "hospitals": {
                    name: float(
                        np.mean([(run.argmax(axis=1) == labels)[hospitals == name].mean() for run in found])
                    )
                    for name in smears.names
                },
            }
            for method, found in runs.items()
        },
        "curves": curves,
        "leave_one_hospital_out": left_out_rows,
        "paired_tests": paired_tests(labels, runs),
    }


def main() -> None:
    """Train what is missing, then print and write the figures; or draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=os.environ.get("FEDPRIV_REAL_SMEARS"))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("measured/accuracy"))
    parser.add_argument("--draw", type=Path, nargs=2, metavar=("JSON", "FOLDER"))
    options = parser.parse_args()
    if options.draw:
        draw(json.loads(options.draw[0].read_text()), options.draw[1])
        return
    real = options.images is not None
    smears = load(Path(options.images) if real else drawn(options.out / "smears"))
    folder = options.out / fingerprint(smears)
    folder.mkdir(parents=True, exist_ok=True)
    train_all(smears, folder, options.repetitions)
    found = {"smears": "given" if real else "generated", **figures(smears, folder, options.repetitions)}
    target = options.out / "accuracy.json"
    target.write_text(json.dumps(found, indent=1) + "\n")
    print("\n\n".join(tables(found)))
    print(f"written: {target}")
    draw(found, options.out)


if __name__ == "__main__":
    main()
