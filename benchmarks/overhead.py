"""What a round costs beyond training: real processes, TLS, masks and journals, with training planted.

    python benchmarks/overhead.py [--out FILE] [--hospitals 5 20] [--parameters 100000] [--rounds 6]

For each number of hospitals: a coordinator, a SuperLink and as many hospitals as processes of this machine.
The time of a round is from its invitations to its last receipt, by the clock of `fedpriv round`, model,
record and claim written in between. Training takes no time here, so all of it is overhead.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fedpriv.cli.local_federation import LocalFederation, found
from fedpriv.cli.study import draft
from fedpriv.coordinator import events, service
from fedpriv.coordinator.home import Deadlines
from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, RoundEnded, RunFolder, new_run
from fedpriv.node.home import Dataset
from fedpriv.study import Study, parse_study

if TYPE_CHECKING:
    from collections.abc import Mapping

PLANTED = Path(__file__).parent.parent / "tests" / "support" / "planted.py"
CLASSES = ("Benign", "Early", "Pre", "Pro")
MOST_S = {5: 3.0, 20: 60.0}
"""What a round of so many hospitals may cost at d = 1e5 on two cores."""


class PlantedFederation(LocalFederation):
    """Hospitals whose update is the one in ``update_path``."""

    update_path: Path

    def command(self, name: str, arguments: list[str]) -> list[str]:
        """As always, but hospitals do not train."""
        if name not in self.nodes:
            return super().command(name, arguments)
        return [sys.executable, str(PLANTED), str(self.update_path), *arguments]


def study_of(hospitals: int, rounds: int) -> Study:
    """So much noise that epsilon is no limit; one hospital may drop out."""
    names = [f"H{number:02}" for number in range(hospitals)]
    study = parse_study(draft("overhead", dict.fromkeys(names, 24), CLASSES), "the study")
    training = msgspec.structs.replace(study.training, rounds=rounds, local_steps=1)
    rules = msgspec.structs.replace(
        study.secure_aggregation, smallest_cohort=hospitals - 1, colluders=0, dropouts=1
    )
    study = msgspec.structs.replace(study, training=training, secure_aggregation=rules)
    return study.with_noise_multiplier(200.0)


class Stopwatch:
    """Notes how long each round took, from its beginning to its end."""

    def __init__(self, label: str) -> None:
        self.seconds: list[float] = []
        self._label = label
        self._began = 0.0

    def observe(self, event: events.Event) -> None:
        """An observer for `fedpriv.coordinator.service.run_rounds`."""
        match event:
            case events.RoundBegan():
                self._began = time.monotonic()
            case events.RoundOver(ended=ended):
                self.seconds.append(time.monotonic() - self._began)
                print(f"{self._label}: round {ended.round} {ended.outcome} in {self.seconds[-1]:.2f} s")


def measure(hospitals: int, parameters: int, rounds: int) -> dict[str, object]:
    """The seconds of each round and stage for one size."""
    study = study_of(hospitals, rounds)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        update_path = folder / "update.npy"
        np.save(update_path, np.linspace(-0.01, 0.01, parameters, dtype=np.float32))
        images = {name: Dataset(name=f"smears-{name}", images=place) for name in study.names}
        made = found(folder / "federation", study, images, Deadlines(join_s=120.0))
        with PlantedFederation(made.coordinator, made.nodes, made.study_path) as federation:
            federation.update_path = update_path
            federation.start()
            first = np.zeros(parameters, np.float32)
            run = new_run(federation.coordinator.runs_folder, study, first)
            watch = Stopwatch(f"{hospitals} hospitals")
            ended = service.run_rounds(federation.coordinator, run, count=rounds, observe=watch.observe)
        whole = [line for line in ended if len(line.cohort) == hospitals]
        return {
            "hospitals": hospitals,
            "parameters": parameters,
            "rounds": rounds,
            "rounds_with_everybody": len(whole),
            "round_s": [round(seconds, 3) for seconds in watch.seconds],
            "median_round_s": round(statistics.median(watch.seconds[1:] or watch.seconds), 3),
            "slowest_round_s": round(max(watch.seconds), 3),
            "median_stage_s": _stages(run),
        }


def _stages(run: RunFolder) -> Mapping[str, float]:
    found: dict[str, list[float]] = {}
    for line in run.lines():
        if isinstance(line, RoundEnded | ReceiptsAcknowledged):
            for stage, seconds in line.seconds.items():
                found.setdefault(stage, []).append(seconds)
    return {stage: round(statistics.median(seconds), 3) for stage, seconds in found.items()}


def main() -> int:
    """Measure every size, print what came of it and write it as JSON; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--hospitals", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--parameters", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    sizes = []
    for hospitals in options.hospitals:
        sizes.append(measure(hospitals, options.parameters, options.rounds))
        print(json.dumps(sizes[-1], indent=2))
    broken = [
        size
        for size in sizes
        if size["rounds_with_everybody"] != size["rounds"]
        or float(str(size["slowest_round_s"])) > MOST_S.get(int(str(size["hospitals"])), float("inf"))
    ]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"cores": os.cpu_count(), "most_s": MOST_S, "sizes": sizes}
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
