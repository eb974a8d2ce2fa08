"""The plots of the accuracy benchmark, SVG files of numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_MARKERS = {"distributed": "o", "local": "s"}


def draw(found: dict[str, Any], folder: Path) -> None:
    """Accuracy over epsilon, over rounds, and at each hospital, into ``folder``."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "fedpriv", "svg.fonttype": "none"}
    from matplotlib import pyplot as plt

    for name, plot in (
        ("epsilon", _over_epsilon),
        ("rounds", _over_rounds),
        ("hospitals", _at_each_hospital),
    ):
        figure, axis = plt.subplots(figsize=(6.5, 4), layout="constrained")
        plot(axis, found)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize="small")
        target = folder / f"accuracy-{name}.svg"
        figure.savefig(target, metadata={"Date": None})
        plt.close(figure)
        print(f"written: {target}")


def _over_epsilon(axis: Any, found: dict[str, Any]) -> None:  # noqa: ANN401
    methods = found["methods"]
    for kind, marker in _MARKERS.items():
        rows = {
            int(name.split()[-1]): row["accuracy"]
            for name, row in methods.items()
            if name.startswith(f"{kind}, epsilon")
        }
        epsilons = sorted(rows)
        means = [100 * rows[epsilon]["mean"] for epsilon in epsilons]
        low = [100 * (rows[epsilon]["mean"] - rows[epsilon]["low"]) for epsilon in epsilons]
        high = [100 * (rows[epsilon]["high"] - rows[epsilon]["mean"]) for epsilon in epsilons]
        axis.errorbar(epsilons, means, yerr=[low, high], marker=marker, capsize=3, label=f"{kind} noise")
    for name, style in (("no noise", "--"), ("colour SVM", ":")):
        axis.axhline(100 * methods[name]["accuracy"]["mean"], linestyle=style, color="grey", label=name)
    axis.set(xscale="log", xticks=[1, 3, 8], xticklabels=["1", "3", "8"])
    axis.set(xlabel="epsilon", ylabel="test accuracy, %")
    axis.minorticks_off()


def _over_rounds(axis: Any, found: dict[str, Any]) -> None:  # noqa: ANN401
    for name, curve in found["curves"].items():
        axis.plot(curve["rounds"], [100 * value for value in curve["accuracy"]], label=name)
    axis.set(xlabel="rounds", ylabel="test accuracy of the published model, %")


def _at_each_hospital(axis: Any, found: dict[str, Any]) -> None:  # noqa: ANN401
    rows = found["leave_one_hospital_out"]
    width = 0.8 / len(rows)
    for number, (method, row) in enumerate(rows.items()):
        places = [place + number * width for place in range(len(row["hospitals"]))]
        axis.bar(places, [100 * value for value in row["hospitals"].values()], width, label=method)
    names = list(next(iter(rows.values()))["hospitals"])
    axis.set(xticks=[place + 0.4 - width / 2 for place in range(len(names))], xticklabels=names)
    axis.set(ylim=(80, 100.5), xlabel="hospital that was left out of training", ylabel="accuracy there, %")
