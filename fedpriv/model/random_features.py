"""Random Fourier features: fixed random numbers that turn a Gaussian kernel into inner products.

For rows w of standard normal numbers and phases b, uniform on a circle, the mean of
2 cos(s w x + b) cos(s w y + b) over (w, b) is exp(-s^2 |x - y|^2 / 2). So a linear model on such cosines is a
kernel machine with one trained number a feature and class.

The numbers come from a counter-based generator's raw output, which NumPy guarantees never to change; they
are public and protect nobody.

*Source*: Rahimi and Recht 2007, theorem 1 and algorithm 1; raw streams: NumPy's NEP 19.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEY = 2007
_MANTISSA_BITS = 53


@lru_cache(maxsize=4)
def random_projection(inputs: int, features: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standard normal numbers, float32 (inputs, features), and phases in [0, 2 pi), float32 (features,)."""
    raw = np.random.Philox(key=_KEY).random_raw((inputs + 1) * features)
    uniform = ((raw >> np.uint64(64 - _MANTISSA_BITS)) + 0.5) / 2.0**_MANTISSA_BITS
    table = uniform.reshape(inputs + 1, features)
    projection = ndtri(table[:-1]).astype(np.float32)
    phases = (2.0 * np.pi * table[-1]).astype(np.float32)
    return projection, phases
