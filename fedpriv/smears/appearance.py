"""Whether an image may be a stained blood smear at all: four rough statements about light and colour.

A smear under a bright-field microscope is mostly light, since light passes wherever no cell lies; its cells
are darker, but not black; and what is dark is blue to violet, since the stains of blood smears (Giemsa,
Wright, Leishman) absorb green and yellow. The limits are half or less of what public smears and drawn ones
show, and are no fit to any data.

*Caught*: blank and dark fields, photographs, X-rays, text, noise, drawings in red or grey.
*Not caught*: whatever else has light, dark and violet: smears of other diseases or stains, tissue sections,
smears out of focus, violet drawings. That an image passes is no evidence that the model knows what it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_LIGHT = 0.7
"""Brightness of the lightest tenth: background and plasma."""

STAINED_BELOW_LIGHT = 0.12
"""How much darker than that a pixel is that counts as stained."""

LEAST_STAINED_SHARE = 0.03

LEAST_BLUENESS = 0.012
"""Blue less the mean of red and green, over what is stained."""

LEAST_CONTRAST = 0.03
MOST_CONTRAST = 0.2
"""Standard deviation of brightness: a blank field has less, black on white has more."""

_TENTH = 90


def looks_like_a_smear(image: NDArray[np.float32]) -> bool:
    """Whether ``image``, float32 (size, size, 3) in [0, 1] from `fedpriv.smears.decode`, may be a smear."""
    brightness = image.mean(axis=2)
    light = np.percentile(brightness, _TENTH)
    stained = image[brightness < light - STAINED_BELOW_LIGHT]
    if light < LEAST_LIGHT or len(stained) < LEAST_STAINED_SHARE * brightness.size:
        return False
    red, green, blue = stained.mean(axis=0)
    contrast = float(brightness.std())
    return bool(blue - (red + green) / 2 >= LEAST_BLUENESS) and LEAST_CONTRAST <= contrast <= MOST_CONTRAST
