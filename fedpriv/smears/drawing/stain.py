"""The colour of a smear: three dyes on a bright background, by the Beer-Lambert law.

A blood smear is stained with a Romanowsky mixture: eosin (red cells, some granules), azure (nuclei,
platelets) and methylene blue (cytoplasm). Transmitted light is ``background * exp(-amounts @ density)``
with one row of optical densities for red, green and blue per dye: Ruifrok and Johnston, *Quantification
of histochemical staining by color deconvolution*, Anal. Quant. Cytol. Histol. 23 (2001), eq. (1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EOSIN, AZURE, METHYLENE_BLUE = range(3)

# Two ends of what laboratories produce: an acid, pink stain and an alkaline, blue one. A hospital lies
# between them, dye by dye. Rows are the dyes above; columns are optical densities of red, green and blue.
_PINK = np.array([[0.12, 0.24, 0.15], [0.42, 1.10, 0.26], [0.30, 0.38, 0.06]])
_BLUE = np.array([[0.36, 0.22, 0.11], [0.85, 1.02, 0.20], [0.52, 0.34, 0.05]])
_PALEST_BACKGROUND = 1.0
_DARKEST_BACKGROUND = 0.94

# Golden-ratio steps (the plastic number's powers) spread any number of hospitals evenly over the square.
_SPREAD = np.array([0.7548776662466927, 0.5698402909980532])


@dataclass(frozen=True, slots=True)
class Stain:
    """``background``: (3,) transmitted light of clear glass in [0, 1]; ``density``: (3 dyes, 3 channels)."""

    background: NDArray[np.float64]
    density: NDArray[np.float64]

    def transmit(self, amounts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Light through dye ``amounts`` of shape ``(..., 3)``: the colours in [0, 1], same shape."""
        density = self.density.astype(np.float32)
        light: NDArray[np.float32] = self.background.astype(np.float32) * np.exp(-(amounts @ density))
        return light


def hospital_stain(rng: np.random.Generator, number: int) -> Stain:
    """The stain of hospital ``number`` (0, 1, ...): far from the others' in hue and in strength."""
    hue, strength = (0.5 + number * _SPREAD) % 1.0
    blend = np.clip(hue + rng.uniform(-0.1, 0.1, size=(3, 1)), 0.0, 1.0)
    density = (0.8 + 0.45 * strength) * ((1 - blend) * _PINK + blend * _BLUE)
    return Stain(rng.uniform(_DARKEST_BACKGROUND, _PALEST_BACKGROUND, size=3), density)


def patient_stain(rng: np.random.Generator, hospital: Stain) -> Stain:
    """One patient's slide: the hospital's stain, a little stronger or weaker, dye by dye."""
    strength = rng.uniform(0.75, 1.3) * rng.uniform(0.85, 1.15, size=(3, 1))
    hue = rng.uniform(0.9, 1.1, size=(3, 3))
    background = np.clip(hospital.background + rng.uniform(-0.02, 0.02, size=3), 0.0, 1.0)
    return Stain(background, hospital.density * strength * hue)
