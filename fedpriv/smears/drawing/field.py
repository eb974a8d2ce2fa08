"""One microscope field of a patient: which cells lie where, then light, focus and camera noise.

The four classes differ in the shape of their white cells, not in colour: stain belongs to the hospital and
to the patient. Descriptions follow the French-American-British and WHO accounts of B-lineage acute
lymphoblastic leukaemia and of normal blood; they are drawn to be learnt from, not to diagnose by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from fedpriv.smears.drawing.cells import (
    PLATELET_PATCH_PX,
    RED_PATCH_PX,
    WHITE_PATCH_PX,
    Morphology,
    draw_platelets,
    draw_red_cells,
    draw_white_cells,
    grain,
)
from fedpriv.smears.drawing.stain import AZURE, EOSIN, Stain, patient_stain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FIELD_PX = 224
_CROWD_STEP_PX = 4  # how finely crowding varies
_MARGIN_PX = WHITE_PATCH_PX  # cells may stick out of the field on every side

LYMPHOCYTE = Morphology(
    radius_px=(8.0, 10.5), nuclear_ratio=(0.76, 0.88), lobes=1, cleft=(0.0, 0.05), chromatin=(1.05, 1.25),
    clumping=0.10, grain_px=5, nucleoli=0, basophilia=0.45, granularity=0.1, irregularity=0.03,
)  # fmt: skip
NEUTROPHIL = Morphology(
    radius_px=(13.0, 16.0), nuclear_ratio=(0.72, 0.82), lobes=3, cleft=(0.0, 0.0), chromatin=(0.95, 1.2),
    clumping=0.12, grain_px=4, nucleoli=0, basophilia=0.05, granularity=0.55, irregularity=0.03,
)  # fmt: skip
EARLY_BLAST = Morphology(
    radius_px=(12.5, 15.0), nuclear_ratio=(0.93, 0.98), lobes=1, cleft=(0.0, 0.05), chromatin=(0.85, 1.05),
    clumping=0.05, grain_px=3, nucleoli=0, basophilia=0.8, granularity=0.0, irregularity=0.03,
)  # fmt: skip
PRE_BLAST = Morphology(
    radius_px=(16.0, 21.0), nuclear_ratio=(0.66, 0.78), lobes=1, cleft=(0.0, 0.1), chromatin=(0.8, 1.0),
    clumping=0.22, grain_px=5, nucleoli=3, basophilia=1.3, granularity=0.0, irregularity=0.05,
)  # fmt: skip
PRO_BLAST = Morphology(
    radius_px=(13.5, 17.5), nuclear_ratio=(0.80, 0.90), lobes=1, cleft=(0.5, 0.8), chromatin=(0.85, 1.05),
    clumping=0.10, grain_px=4, nucleoli=1, basophilia=0.6, granularity=0.0, irregularity=0.06,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Population:
    """The white cells of a class: the kind, (least, most) in a field, share of neutrophils, clustering."""

    kind: Morphology
    count: tuple[int, int]
    neutrophil_share: float
    clustering: float


POPULATIONS: Mapping[str, Population] = {
    "Benign": Population(LYMPHOCYTE, (5, 11), neutrophil_share=0.35, clustering=0.1),
    "Early": Population(EARLY_BLAST, (5, 11), neutrophil_share=0.05, clustering=0.7),
    "Pre": Population(PRE_BLAST, (4, 10), neutrophil_share=0.05, clustering=0.4),
    "Pro": Population(PRO_BLAST, (5, 11), neutrophil_share=0.05, clustering=0.2),
}


@dataclass(frozen=True, slots=True)
class Patient:
    """What stays the same in all fields of one patient's smear."""

    population: Population
    stain: Stain
    cell_scale: float
    load: float
    red_radius_px: float
    red_density: float
    red_pallor: float
    platelets: int
    blur_px: float


def draw_patient(rng: np.random.Generator, label: str, hospital: Stain) -> Patient:
    """A patient with disease ``label`` at a hospital with that stain."""
    return Patient(
        population=POPULATIONS[label],
        stain=patient_stain(rng, hospital),
        cell_scale=rng.uniform(0.94, 1.06),
        load=rng.uniform(0.6, 1.3),
        red_radius_px=rng.uniform(9.5, 12.0),
        red_density=rng.uniform(0.35, 0.9),
        red_pallor=rng.uniform(0.1, 0.8),
        platelets=int(rng.integers(2, 14)),
        blur_px=rng.uniform(0.3, 1.0),
    )


def draw_field(rng: np.random.Generator, patient: Patient) -> NDArray[np.uint8]:
    """One field of view of ``patient``, uint8 ``(224, 224, 3)``."""
    side = FIELD_PX + 2 * _MARGIN_PX
    dyes = np.zeros((side, side, 3), dtype=np.float32)
    whites = _white_cell_centres(rng, patient)
    _add_red_cells(rng, dyes, patient)
    _add_white_cells(rng, dyes, whites, patient)
    _add_platelets(rng, dyes, patient)
    return _photograph(rng, dyes[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX], patient)


def _white_cell_centres(rng: np.random.Generator, patient: Patient) -> NDArray[np.float64]:
    """Centres ``(n, 2)`` about a cell apart; some lie next to an earlier one."""
    least, most = patient.population.count
    wanted = max(1, round(patient.load * int(rng.integers(least, most + 1))))
    apart = 1.9 * patient.cell_scale * patient.population.kind.radius_px[0]
    centres: list[NDArray[np.float64]] = []
    for _ in range(20 * wanted):
        candidate = rng.uniform(0, FIELD_PX, 2)
        if centres and rng.random() < patient.population.clustering:
            angle = rng.uniform(0, 2 * np.pi)
            neighbour = centres[rng.integers(len(centres))]
            candidate = neighbour + 1.1 * apart * np.array([np.cos(angle), np.sin(angle)])
        if not all(-_MARGIN_PX / 4 < v < FIELD_PX + _MARGIN_PX / 4 for v in candidate):
            continue
        if all(np.hypot(*(candidate - centre)) >= apart for centre in centres):
            centres.append(candidate)
        if len(centres) == wanted:
            break
    return np.array(centres)


def _add_red_cells(rng: np.random.Generator, dyes: NDArray[np.float32], patient: Patient) -> None:
    """Red cells on a jittered grid with gaps where a smooth field is low."""
    pitch = 2.15 * patient.red_radius_px
    steps = np.arange(-pitch, FIELD_PX + pitch, pitch)
    centres = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    centres += rng.uniform(-0.42 * pitch, 0.42 * pitch, centres.shape)
    crowd = grain(rng, 60 // _CROWD_STEP_PX, FIELD_PX // _CROWD_STEP_PX)
    row, column = np.clip(centres // _CROWD_STEP_PX, 0, len(crowd) - 1).astype(np.intp).T
    keep = rng.random(len(centres)) < patient.red_density * (1 + 0.5 * crowd[row, column])
    centres = centres[keep]
    patches = draw_red_cells(rng, len(centres), patient.red_radius_px, patient.red_pallor)
    for patch, centre in zip(patches, centres, strict=True):
        dyes[_window(centre, RED_PATCH_PX)][..., EOSIN] += patch


def _add_white_cells(
    rng: np.random.Generator,
    dyes: NDArray[np.float32],
    centres: NDArray[np.float64],
    patient: Patient,
) -> None:
    """White cells cover what lies under them."""
    neutrophil = rng.random(len(centres)) < patient.population.neutrophil_share
    for kind, chosen in ((NEUTROPHIL, neutrophil), (patient.population.kind, ~neutrophil)):
        if not chosen.any():
            continue
        patches, covers = draw_white_cells(rng, int(chosen.sum()), kind, patient.cell_scale)
        for patch, cover, centre in zip(patches, covers, centres[chosen], strict=True):
            window = dyes[_window(centre, WHITE_PATCH_PX)]
            window *= 1 - cover[..., None]
            window += patch


def _add_platelets(rng: np.random.Generator, dyes: NDArray[np.float32], patient: Patient) -> None:
    n = int(rng.poisson(patient.platelets))
    patches = draw_platelets(rng, n)
    for patch, centre in zip(patches, rng.uniform(0, FIELD_PX, (n, 2)), strict=True):
        dyes[_window(centre, PLATELET_PATCH_PX)][..., AZURE] += patch


def _window(centre: NDArray[np.float64], side: int) -> tuple[slice, slice]:
    y, x = (int(v) + _MARGIN_PX - side // 2 for v in centre)
    return slice(y, y + side), slice(x, x + side)


def _photograph(
    rng: np.random.Generator,
    dyes: NDArray[np.float32],
    patient: Patient,
) -> NDArray[np.uint8]:
    """Light through the dyes, uneven and slightly out of focus, read by a noisy camera."""
    light = patient.stain.transmit(dyes)
    axis = np.linspace(-1, 1, FIELD_PX, dtype=np.float32)
    tilt = rng.uniform(-0.04, 0.04, 2).astype(np.float32)
    vignette = np.float32(rng.uniform(0.0, 0.05))
    lamp = 1 + tilt[0] * axis[:, None] + tilt[1] * axis - vignette * (axis[:, None] ** 2 + axis**2)
    exposed = light * (lamp * np.float32(255 * rng.uniform(0.96, 1.03)))[..., None]
    sharp = Image.fromarray(np.minimum(exposed, 255).astype(np.uint8))
    blurred = sharp.filter(ImageFilter.GaussianBlur(patient.blur_px * rng.uniform(0.7, 1.5)))
    noise = np.float32(2) * rng.standard_normal((FIELD_PX, FIELD_PX, 1), dtype=np.float32)
    photograph: NDArray[np.uint8] = np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8)
    return photograph
