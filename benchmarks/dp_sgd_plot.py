"""Ratios of all ways as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dp_sgd_turns import Cell


def plot(cells: list[Cell], path: Path) -> None:
    """Ratios to the base of each way, one group of bars a setting."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    settings = list(dict.fromkeys(cell.setting for cell in cells))
    ways = list(dict.fromkeys(cell.way for cell in cells if cell.way != cell.base))
    figure, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    width = 0.8 / len(ways)
    for place, way in enumerate(ways):
        ratios = {settings.index(cell.setting): cell.wall_ratio for cell in cells if cell.way == way}
        bars = axes.bar([at + place * width for at in ratios], list(ratios.values()), width, label=way)
        axes.bar_label(bars, fmt="%.2f", fontsize=6)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("time of a step over the plain step")
    axes.set_xticks(
        [at + 0.4 for at in range(len(settings))],
        [f"{s.network}\n{s.size} x {s.size}\nbatch {s.batch}" for s in settings],
        fontsize=7,
    )
    axes.legend(fontsize=7)
    figure.savefig(path)
