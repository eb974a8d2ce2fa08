"""A dishonest coordinator picks the first layer: what it would read, and what refuses it.

It asks for a first layer that sorts images by brightness (`networks.imprinting_network`). The gradients of
two neighbouring units then differ by the images between their thresholds alone: divided by the difference of
the biases' gradients, that *is* the image, however many others were in the batch. Here a study names the
architecture, every hospital has it installed, and a model is a vector of its length.

*Source*: Fowl et al. 2022, "Robbing the Fed"; Boenisch et al. 2023, "When the curious abandon honesty".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from fedpriv.audit.attack.line_up import CANDIDATES, chance, named, psnr
from fedpriv.audit.attack.networks import CNN_SIZE, imprinting_network
from fedpriv.audit.attack.row import Role, Row, least_rate
from fedpriv.audit.bench import Bench
from fedpriv.dp.accounting import candidate_success
from fedpriv.errors import FedprivError
from fedpriv.model.network import build_model
from fedpriv.model.weights import from_vector, to_vector
from fedpriv.study import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fedpriv.audit.bench import Records
    from fedpriv.study import Study

VICTIMS = 8
_UNITS = 128
_SPREAD = 4.0
_TINY = 1e-9
_SLACK = 1.01
_NAME = "imprint"


def read_out(
    study: Study, records: Records, *, victims: int = VICTIMS
) -> dict[str, list[NDArray[np.float32]]]:
    """Pictures by what was seen, for the first ``victims`` of the records, all in one batch of one hospital.

    ``records`` are `inversion.RECORDS` of CNN_SIZE pixels a side; the mean of the last ones is public.
    """
    batch, public = records[:victims], records.images[CANDIDATES:]
    brightness = public.mean(axis=(1, 2, 3))
    reach = _SPREAD * float(brightness.std())
    thresholds = np.linspace(brightness.mean() - reach, brightness.mean() + reach, _UNITS, dtype=np.float32)
    bench = Bench(study, imprinting_network(CNN_SIZE, len(study.study.classes), thresholds))
    # The attacker is even told how bright each victim is, so it knows where to look.
    places = np.searchsorted(thresholds, batch.images.mean(axis=(1, 2, 3))) - 1
    longest = _SLACK * float(np.linalg.norm(bench.gradients(batch), axis=1).max())
    seen = {
        "raw": bench.quiet(batch, l2_clip_norm=longest),
        "clipped": bench.quiet(batch, l2_clip_norm=study.privacy.l2_clip_norm),
        "noised": bench.planned(bench.names[0], batch),
    }
    return {
        view: [_read(hospital.releases(1)[0], int(place)) for place in places]
        for view, hospital in seen.items()
    }


def first_layer_rows(
    study: Study, records: Records, pictures: dict[str, list[NDArray[np.float32]]]
) -> Iterator[Row]:
    """How often what was read names the victim, and whether the layer would be accepted at all."""
    line_up, mean = records.images[:CANDIDATES], records.images[CANDIDATES:].mean(axis=0)
    trials = len(pictures["raw"])
    for view, images in (*pictures.items(), ("public mean", [mean] * trials)):
        hits = sum(named(image, line_up, mean) == place for place, image in enumerate(images))
        near = float(np.median([psnr(image, line_up[place]) for place, image in enumerate(images)]))
        claim = candidate_success([study.cost_of(study.training.rounds)], CANDIDATES)
        role = {"raw": Role.CONTROL, "noised": Role.SUBJECT}.get(view, Role.REFERENCE)
        observed = f"recognised {hits} of {trials} among {CANDIDATES}; median PSNR {near:.1f} dB"
        yield Row(
            attack=f"first layer, {study.privacy.noise} noise",
            subject=f"if it were accepted: {view}",
            role=role,
            observed=f"{observed}; claimed at most {claim:.1%}" if role is Role.SUBJECT else observed,
            power=f"{least_rate(trials, trials):.0%} recognised",
            holds=2 * hits > trials
            if role is Role.CONTROL
            else role is Role.REFERENCE or least_rate(hits, trials) <= claim,
            figures={"recognised": hits, "victims": trials, "candidates": CANDIDATES, "psnr_db": near},
        )
    refusals = refused(study)
    yield Row(
        attack=f"first layer, {study.privacy.noise} noise",
        subject="what is installed here",
        role=Role.SUBJECT,
        observed="; ".join(refusals) if refusals else "the layer was accepted",
        power="the layer accepted",
        holds=len(refusals) == len(_WAYS),
        figures={"ways": len(_WAYS), "refused": len(refusals)},
    )
    yield chance(f"first layer, {study.privacy.noise} noise")


def refused(study: Study) -> list[str]:
    """Each way to bring in another first layer with its refusal; ways that were accepted are missing."""
    found = []
    for way, attempt in _WAYS.items():
        try:
            attempt(study)
        except (FedprivError, ValueError) as error:
            found.append(f"{way}: {error}")
    return found


def _by_name(study: Study) -> None:
    build_model(replace(study, model=Model(name=_NAME)))


def _by_vector(study: Study) -> None:
    model = build_model(study)
    imprint = imprinting_network(CNN_SIZE, len(study.study.classes), np.zeros(_UNITS, np.float32))
    from_vector(model, to_vector(imprint))


_WAYS = {"named in a study": _by_name, "sent as a model": _by_vector}


def _read(release: NDArray[np.float64], place: int) -> NDArray[np.float32]:
    """What lies between thresholds ``place`` and the next: weights' difference over biases' difference."""
    pixels = CNN_SIZE * CNN_SIZE * 3
    weights = release[: pixels * _UNITS].reshape(pixels, _UNITS)
    biases = release[pixels * _UNITS :][:_UNITS]
    following = min(place + 1, _UNITS - 1)
    weight = weights[:, place] - (weights[:, following] if following > place else 0)
    bias = biases[place] - (biases[following] if following > place else 0)
    image = weight / (bias if abs(bias) > _TINY else _TINY)
    return np.clip(image, 0, 1).reshape(CNN_SIZE, CNN_SIZE, 3).astype(np.float32)
