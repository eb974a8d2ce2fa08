"""Every attack on what is installed, and how often the one-run audit is right: twenty runs each way.

Fails if a claim is contradicted, if an attack fails where nothing protects, if a run with a quarter of the
noise is not caught 20 times out of 20, if a run with the right noise is, or if the estimator raises a false
alarm with more than 5 % on mechanisms that have exactly the epsilon they claim.
"""

from __future__ import annotations

import argparse
import bisect
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

from fedpriv.audit.attack.one_run import CANARIES, claimed_epsilon, fixed_guesses, play
from fedpriv.audit.attack.one_run_bound import epsilon_ceiling, epsilon_lower_bound, planned_guesses
from fedpriv.audit.attack.subjects import small_studies
from fedpriv.cli.main import exit_code_of
from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon

RUNS = 20
TRIALS = 400
ALARMS = 0.05
DELTA = 1e-5


def main() -> int:
    """Run everything, print it, write the numbers to the folder given; 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("measured/attack"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {"one_run": one_run_both_ways(), "estimator": false_alarms()}
    start = time.monotonic()
    code = exit_code_of(["audit", "attack", "all", "--out", str(out)])
    found["attacks"] = {"exit_code": code, "seconds": round(time.monotonic() - start)}
    (out / "attack.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    right = all(row["caught"] == RUNS and row["false"] == 0 for row in found["one_run"])
    honest = all(
        row["exact_probability"] <= ALARMS if "exact_probability" in row else row["alarms"] <= ALARMS * TRIALS
        for row in found["estimator"]
    )
    return 0 if right and honest and code == 0 else 1


def one_run_both_ways() -> list[dict[str, object]]:
    """How many runs with a quarter of the noise, and how many with all of it, contradict the claim."""
    rows = []
    for study in small_studies():
        claim, guesses = claimed_epsilon(study), fixed_guesses(study, CANARIES)
        faulty = study.with_noise_multiplier(study.noise_multiplier / 4)
        bounds = {
            subject: [
                epsilon_lower_bound(CANARIES, guesses, play(played, CANARIES, guesses).right, delta=DELTA)
                for _ in range(RUNS)
            ]
            for subject, played in (("caught", faulty), ("false", study))
        }
        rows.append(
            {
                "noise": study.privacy.noise,
                "claimed": claim,
                "ceiling": epsilon_ceiling(CANARIES, guesses, delta=DELTA),
                "runs": RUNS,
                "lowest_with_a_quarter": min(bounds["caught"]),
                "highest_with_all": max(bounds["false"]),
                **{subject: sum(bound > claim for bound in found) for subject, found in bounds.items()},
            }
        )
    return rows


def false_alarms() -> list[dict[str, object]]:
    """Bounds above epsilon on mechanisms that have exactly the epsilon that they claim.

    Randomized response is the hardest honest case: its alarms are also computed exactly. The Gaussian is the
    one that trainers use, with canaries scored and guessed as in a run.
    """
    rows = []
    generator = np.random.default_rng(3)
    for epsilon in (0.5, 1.0, 3.0):
        for canaries, guesses in ((1000, 100), (1000, 1000), (200, 200)):
            share = 1 / (1 + math.exp(-epsilon))
            rights = generator.binomial(guesses, share, TRIALS)
            alarming = alarms_from(canaries, guesses, epsilon)
            exact = float(stats.binom.sf(alarming - 1, guesses, share))
            row = {"mechanism": "randomized response", "epsilon": epsilon, "canaries": canaries}
            row |= {"guesses": guesses, "trials": TRIALS, "alarms": int((rights >= alarming).sum())}
            rows.append(row | {"exact_probability": exact})
    for multiplier in (0.7, 1.4, 2.8):
        epsilon = composed_epsilon([PrivacyEvent(multiplier, 1.0, 1)], DELTA).pld
        guesses = planned_guesses(CANARIES, 4 / multiplier, delta=DELTA)
        coins = generator.random((TRIALS, CANARIES)) < 1 / 2
        order = np.argsort(generator.normal(size=coins.shape) + coins / multiplier, axis=1)
        ranked = np.take_along_axis(coins, order, axis=1)
        half = guesses // 2
        rights = ranked[:, -half:].sum(axis=1) + (~ranked[:, :half]).sum(axis=1)
        alarming = alarms_from(CANARIES, guesses, epsilon)
        row = {"mechanism": "Gaussian", "epsilon": epsilon, "canaries": CANARIES, "guesses": guesses}
        rows.append(row | {"trials": TRIALS, "alarms": int((rights >= alarming).sum())})
    return rows


def alarms_from(canaries: int, guesses: int, epsilon: float) -> int:
    """The fewest right guesses whose bound lies above ``epsilon``; one more than all if none does."""
    return bisect.bisect_right(
        range(guesses + 1),
        epsilon,
        key=lambda right: epsilon_lower_bound(canaries, guesses, right, delta=DELTA),
    )


if __name__ == "__main__":
    sys.exit(main())
