"""Gradient inversion: whether an image is recognised in what a coordinator sees of it.

Two attackers look at every view (`views.View`). The *painter* makes a picture whose gradient fits, and it is
recognised if it is most like the victim among 100. The *matcher* holds all 100 candidates already and takes
the likeliest, under the study's own network, from all rounds at once: no attacker on one image does better,
and the claim is made in just these words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.audit.attack.gradient_match import ITERATIONS, GradientMatch
from fedpriv.audit.attack.line_up import CANDIDATES, chance, named, psnr, ssim
from fedpriv.audit.attack.networks import CNN_SIZE, common_cnn
from fedpriv.audit.attack.row import Role, Row, least_rate
from fedpriv.audit.attack.views import Coordinator, View, clipped
from fedpriv.audit.bench import Bench
from fedpriv.dp.accounting import candidate_success

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fedpriv.audit.bench import Records
    from fedpriv.study import Study

VICTIMS = 10
PUBLIC = 20
"""Images whose mean is what anybody expects a smear to look like."""

RECORDS = CANDIDATES + PUBLIC
NULL = "public mean"


@dataclass(frozen=True, slots=True)
class Painted:
    """``pictures`` of one victim by view, the public mean under :data:`NULL`; all float32 (h, w, 3)."""

    original: NDArray[np.float32]
    pictures: dict[str, NDArray[np.float32]]


def paint(
    study: Study,
    records: Records,
    *,
    victims: int = VICTIMS,
    iterations: int = ITERATIONS,
    on_progress: Callable[[int], None] | None = None,
) -> list[Painted]:
    """Pictures of the first ``victims`` of ``records``, which are :data:`RECORDS`, CNN_SIZE pixels wide."""
    model = common_cnn(len(study.study.classes))
    bench = Bench(study, model)
    mean = records.images[CANDIDATES:].mean(axis=0)
    coordinator = Coordinator(bench, records[:victims], records[CANDIDATES : CANDIDATES + 1])
    match = GradientMatch(model, bench.vector, mean)
    painted = []
    for number in range(victims):
        label = int(records.labels[number])
        views = coordinator.views(number, rounds=study.steps)
        pictures = {
            str(view): match.picture(seen, label, iterations=iterations) for view, seen in views.items()
        }
        painted.append(Painted(records.images[number], pictures | {NULL: mean}))
        if on_progress is not None:
            on_progress(number + 1)
    return painted


def painter_rows(study: Study, records: Records, painted: list[Painted]) -> Iterator[Row]:
    """How often the pictures name their victim, which is the i-th of the line-up for the i-th."""
    line_up, mean = records.images[:CANDIDATES], records.images[CANDIDATES:].mean(axis=0)
    for subject in [*View, NULL]:
        pictures = [one.pictures[subject] for one in painted]
        hits = sum(named(picture, line_up, mean) == place for place, picture in enumerate(pictures))
        near = float(np.mean([psnr(one.pictures[subject], one.original) for one in painted]))
        alike = float(np.mean([ssim(one.pictures[subject], one.original) for one in painted]))
        yield _row(
            study,
            f"painter, {CNN_SIZE} x {CNN_SIZE}",
            subject,
            hits,
            len(painted),
            {"psnr_db": near, "ssim": alike},
        )
    yield chance(f"inversion, {study.privacy.noise} noise: painter, {CNN_SIZE} x {CNN_SIZE}")


def matcher_rows(study: Study, records: Records, *, victims: int = VICTIMS) -> Iterator[Row]:
    """How often the likeliest candidate is the victim; ``records`` of the study's image size."""
    bench = Bench(study)
    coordinator = Coordinator(bench, records[:victims], records[CANDIDATES : CANDIDATES + 1])
    gradients = bench.gradients(records[:CANDIDATES])
    whole, cut = gradients / coordinator.longest, clipped(gradients, coordinator.l2_clip_norm)
    hits: dict[str, int] = dict.fromkeys(View, 0)
    for number in range(victims):
        for view, seen in coordinator.views(number, rounds=study.steps).items():
            expected = cut if view in {View.CLIPPED, View.PRIVATE} else whole
            likelihood = expected @ seen - np.square(expected).sum(axis=1) / 2
            hits[view] += int(np.argmax(likelihood)) == number
    # Who knows only the public mean names the same candidate, whoever the victim is.
    mean = replace(
        records[CANDIDATES : CANDIDATES + 1], images=records.images[CANDIDATES:].mean(axis=0, keepdims=True)
    )
    directions = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    always = int(np.argmax(directions @ bench.gradients(mean)[0]))
    hits[NULL] = int(always < victims)
    for subject, count in hits.items():
        yield _row(study, f"matcher, {study.model.name}", subject, count, victims, {})
    yield chance(f"inversion, {study.privacy.noise} noise: matcher, {study.model.name}")


def _row(study: Study, attack: str, subject: str, hits: int, trials: int, figures: dict[str, float]) -> Row:
    guess = 1 / CANDIDATES
    claims = {
        View.PRIVATE: candidate_success([study.cost_of(study.training.rounds)], CANDIDATES),
        View.MASKED: guess,
    }
    claim = claims.get(View(subject)) if subject in set(View) else None
    role = Role.CONTROL if subject == View.RAW else Role.REFERENCE if claim is None else Role.SUBJECT
    proved, most = least_rate(hits, trials), least_rate(trials, trials)
    words = [f"recognised {hits} of {trials} among {CANDIDATES}"]
    if figures:
        words.append(f"PSNR {figures['psnr_db']:.1f} dB, SSIM {figures['ssim']:.2f}")
    if claim is not None:
        words.append(f"claimed at most {claim:.1%}")
    return Row(
        attack=f"inversion, {study.privacy.noise} noise: {attack}",
        subject=subject,
        role=role,
        observed="; ".join(words),
        power=f"{most:.0%} recognised",
        # A control that recognises no half of its victims is not worth the name.
        holds=2 * hits > trials if role is Role.CONTROL else claim is None or proved <= claim,
        figures={"recognised": hits, "victims": trials, "candidates": CANDIDATES, "least_rate": proved}
        | ({} if claim is None else {"claimed_rate": claim})
        | figures,
    )
