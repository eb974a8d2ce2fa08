"""One private step against one plain step of the same network, taking turns in one run.

    python benchmarks/dp_sgd.py [--quick] [--out measured/dp-sgd.json]

What each way does is said in ``dp_sgd_keras.py``, ``dp_sgd_tensorflow_privacy.py`` and ``dp_sgd_opacus.py``;
how it is measured, in ``dp_sgd_turns.py``. All have two threads. ``wide-cnn`` is trained as a whole,
242 k parameters; of ``smear-cnn`` the trained part is, on the maps of its fixed front, which every way finds
computed. tensorflow-privacy's optimizers are measured in few turns, at 64 x 64 and batches of 16 and 64
only: their time and memory grow with the square of the batch.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dp_sgd_plot import plot
from dp_sgd_turns import THREADS, Cell, Setting, Skipped, Way, take_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

KERAS = tuple(
    Way(name, "dp_sgd_keras", "plain") for name in ("plain", "plain, our norm", "fedpriv", "fedpriv, shared")
)
MODELS = tuple(Way(name, "dp_sgd_tensorflow_privacy", "plain") for name in ("DPModel", "DPModel fast"))
OPTIMIZERS = tuple(
    Way(name, "dp_sgd_tensorflow_privacy", "plain", first_step_limit_s=300.0, slow=True)
    for name in ("DP optimizer", "vectorised")
)
OPACUS = tuple(Way(name, "dp_sgd_opacus", "torch") for name in ("torch", "Opacus", "Opacus ghost"))


def plan(*, quick: bool, with_opacus: bool) -> list[tuple[Setting, Sequence[Way], float]]:
    """Settings, what is compared in each, and for about how many seconds."""
    peers = [*MODELS, *(OPACUS if with_opacus else ())]
    if quick:
        return [
            (Setting("wide-cnn", 64, 64), [*KERAS, *peers], 10.0),
            (Setting("smear-cnn", 64, 64), KERAS, 5.0),
        ]
    settings = [(Setting("wide-cnn", 64, 16), [*KERAS, *peers, *OPTIMIZERS], 15.0)]
    for size in (64, 128):
        for batch in (64, 256):
            slow = OPTIMIZERS if (size, batch) == (64, 64) else ()
            settings += [
                (Setting("wide-cnn", size, batch), [*KERAS, *peers, *slow], 30.0),
                (Setting("smear-cnn", size, batch), KERAS, 10.0),
            ]
    return settings


def show(cells: list[Cell], skipped: list[Skipped]) -> None:
    """Lines of the table."""
    for cell in cells:
        setting = cell.setting
        print(
            f"{setting.network:10} {setting.size:4} {setting.batch:5}  {cell.way:15}"
            f" {cell.cpu_s * 1e3:9.1f} ms cpu {cell.wall_s * 1e3:9.1f} ms"
            f" {cell.wall_ratio:7.2f} x {cell.base:6} ({cell.cpu_ratio:.2f} cpu)"
            f" {cell.peak_mib:7.0f} MiB  {cell.turns:3} turns",
            flush=True,
        )
    for skip in skipped:
        setting = skip.setting
        print(
            f"{setting.network:10} {setting.size:4} {setting.batch:5}  {skip.way:15} skipped: {skip.reason}",
            flush=True,
        )


def main() -> None:
    """Measure, print, write JSON and a plot beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 x 64 and batch 64 only, no optimizers")
    parser.add_argument("--out", type=Path, default=Path("measured/dp-sgd.json"))
    arguments = parser.parse_args()
    with_opacus = importlib.util.find_spec("opacus") is not None
    if not with_opacus:
        print("opacus is not installed: not compared")
    cells: list[Cell] = []
    skipped: list[Skipped] = []
    for setting, ways, budget_s in plan(quick=arguments.quick, with_opacus=with_opacus):
        new_cells, new_skipped = take_turns(setting, ways, budget_s)
        show(new_cells, new_skipped)
        cells += new_cells
        skipped += new_skipped
        write(arguments.out, cells, skipped)
    plot(cells, arguments.out.with_suffix(".svg"))


def write(out: Path, cells: list[Cell], skipped: list[Skipped]) -> None:
    """What has been measured so far, as JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    results = {
        "machine": {"processor": platform.processor(), "threads": THREADS},
        "cells": [asdict(cell) for cell in cells],
        "skipped": [asdict(skip) for skip in skipped],
    }
    out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
