"""The tables of the accuracy benchmark as Markdown, as they stand in ``docs/results.md``.

    python benchmarks/accuracy_tables.py docs/measurements/accuracy.json docs/results.md

puts them in place of the older ones of that page.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

CONFUSED = "distributed, epsilon 3"
PAIRED = ("colour SVM", "central", "no noise", "local, epsilon 8", "distributed, epsilon 3")
"""Whose paired tests against the rows with distributed noise are shown; all are in the JSON."""


def tables(found: dict[str, object]) -> list[str]:
    """Accuracy, classes, confusion and paired tests, from the benchmark's figures."""
    return [accuracy_table(found), class_table(found), confusion_table(found), paired_table(found)]


def accuracy_table(found: dict[str, object]) -> str:
    """One row a method: mean, interval over repetitions, interval over images, hospitals left out."""
    rows = []
    for method, row in found["methods"].items():
        runs, images = row["accuracy"], row["accuracy_over_images"]
        spread = f"{runs['low']:.2%} to {runs['high']:.2%}" if row["repetitions"] > 1 else "one run"
        elsewhere = found["leave_one_hospital_out"].get(method)
        accuracy = f"**{runs['mean']:.2%}** ({spread}; {images['low']:.1%} to {images['high']:.1%})"
        macro_f1, calibration = row["macro_f1"]["mean"], row["calibration_error"]["mean"]
        new = f"{elsewhere['mean']:.2%}" if elsewhere else "-"
        rows.append([method, accuracy, f"{macro_f1:.3f}", f"{calibration:.3f}", new])
    head = [
        "training",
        "accuracy (95 % over repetitions; images)",
        "macro F1",
        "calibration",
        "new hospital",
    ]
    return _markdown(head, rows)


def class_table(found: dict[str, object]) -> str:
    """Sensitivity / specificity of each class, %."""
    rows = [
        [method, *(f"{100 * c['sensitivity']:.1f} / {100 * c['specificity']:.1f}" for c in row["classes"])]
        for method, row in found["methods"].items()
    ]
    return _markdown(["training", *_classes(found)], rows)


def confusion_table(found: dict[str, object]) -> str:
    """Rows are true classes, columns said ones, summed over repetitions of `CONFUSED`."""
    names = _classes(found)
    counts = found["methods"][CONFUSED]["confusion"]
    rows = [[name, *map(str, row)] for name, row in zip(names, counts, strict=True)]
    return _markdown(["", *names], rows)


def paired_table(found: dict[str, object]) -> str:
    """McNemar's tests of the pairs that the page speaks of."""
    rows = [
        [row["first"], row["second"], str(row["only_first"]), str(row["only_second"]), f"{row['p_holm']:.2g}"]
        for row in found["paired_tests"]
        if row["first"] in PAIRED
        and (row["second"].startswith("distributed") or (row["first"], row["second"]) == PAIRED[1:3])
    ]
    return _markdown(["first", "second", "only the first right", "only the second", "p, corrected"], rows)


def _classes(found: dict[str, object]) -> list[str]:
    return [row["name"] for row in found["methods"][CONFUSED]["classes"]]


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [_line(head), "|" + "---|" * len(head), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def put(page: str, found: dict[str, object]) -> str:
    """``page`` with each of its tables that has the head of one of ours replaced by ours."""
    for table in tables(found):
        head = table.splitlines()[0]
        if page.count(head + "\n") != 1:
            raise ValueError(f"the page does not have one table {head!r}")
        before, after = page.split(head + "\n")
        rest = after.split("\n\n", 1)
        page = before + table + "\n\n" + (rest[1] if len(rest) > 1 else "")
    return page


if __name__ == "__main__":
    figures, target = map(Path, sys.argv[1:])
    target.write_text(put(target.read_text(), json.loads(figures.read_text())))
