"""The whole fault matrix (tests/faults/matrix.toml) with real processes: one line a cell, and JSON.

    PYTHONPATH=tests python benchmarks/faults.py [--out FILE] [--only WORDS]

Needs root, for network namespaces and small disks. ``--only`` runs the cells whose name contains the words.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.fault_cells import Trial, cases
from support.faulty import FaultyFederation, faulty_study, missing

from fedpriv.errors import FedprivError

PARAMETERS = 1_000
MOST_ROUNDS = 2_000


def main() -> int:
    """Run the cells; 0 if each ends as the table says, 2 where this machine cannot make the faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if reason := missing():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    chosen = [case for case in cases() if options.only in case.name]
    began = time.monotonic()
    report: list[dict[str, object]] = []
    while len(report) < len(chosen):  # a federation that did not heal is replaced
        with tempfile.TemporaryDirectory() as place:
            study = faulty_study(MOST_ROUNDS)
            made = FaultyFederation.make(Path(place) / "federation", study, parameters=PARAMETERS)
            with made as federation:
                federation.start()
                healed = True
                while healed and len(report) < len(chosen):
                    case = chosen[len(report)]
                    trial = Trial(federation, case)
                    try:
                        trial.run()
                    except (AssertionError, FedprivError, OSError, subprocess.SubprocessError) as error:
                        trial.problems.append(f"it could not be made, or did not heal: {error}")
                        healed = False
                    report.append(
                        {"cell": case.name, "seconds": round(trial.wall_s, 1), "problems": trial.problems}
                    )
                    verdict = f"WRONG: {'; '.join(trial.problems)}" if trial.problems else "ok"
                    place_in_all = f"{len(report)}/{len(chosen)}"
                    print(f"{place_in_all} {case.name}: {verdict} ({trial.wall_s:.1f} s)", flush=True)
    wrong = sum(bool(line["problems"]) for line in report)
    print(f"{len(report) - wrong} of {len(report)} cells as the table says, {time.monotonic() - began:.0f} s")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"wrong": wrong, "cells": report}, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
