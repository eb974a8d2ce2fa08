"""How near a reconstruction comes to an image, and whether it names the right one of a line-up.

PSNR alone called a release safe from which nearly all patients were recognised: smears are alike, and the
mean of public ones already scores well. So a reconstruction is held against a line-up, *after the public mean
is subtracted from both sides*: what remains is what this image has and others have not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter

from fedpriv.audit.attack.row import Role, Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANDIDATES = 100
"""Images in a line-up, the right one among them."""

_WINDOW = 7
_K1, _K2 = 0.01, 0.03


def psnr(image: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1]; infinite for equal ones."""
    error = float(np.mean(np.square(image.astype(np.float64) - other)))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(image: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean structural similarity of (h, w, 3) in [0, 1], windows of 7 x 7, by channel.

    *Source*: Wang et al. 2004, equation 13, with K1 = 0.01, K2 = 0.03 and even windows.
    """
    c1, c2 = _K1**2, _K2**2
    first, second = image.astype(np.float64), other.astype(np.float64)

    def window(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(values, size=(_WINDOW, _WINDOW, 1)))

    mean_1, mean_2 = window(first), window(second)
    variance_1 = window(first**2) - mean_1**2
    variance_2 = window(second**2) - mean_2**2
    covariance = window(first * second) - mean_1 * mean_2
    parts = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    parts /= (mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2)
    edge = _WINDOW // 2
    return float(parts[edge:-edge, edge:-edge].mean())


def named(
    reconstruction: NDArray[np.float32], line_up: NDArray[np.float32], public_mean: NDArray[np.float32]
) -> int:
    """The place in ``line_up``, (n, h, w, 3), of the image most like ``reconstruction``, (h, w, 3).

    Likeness is the cosine after subtracting ``public_mean``, which holds no image of the line-up. What is the
    public mean itself names one by chance.
    """
    sought = (reconstruction - public_mean).ravel().astype(np.float64)
    if not np.any(sought):
        return int(np.random.default_rng().integers(len(line_up)))
    others = (line_up - public_mean).reshape(len(line_up), -1).astype(np.float64)
    return int(np.argmax(others @ sought / np.linalg.norm(others, axis=1)))


def chance(attack: str) -> Row:
    """What ``attack`` comes to by picking any candidate."""
    return Row(
        attack=attack,
        subject="chance",
        role=Role.REFERENCE,
        observed=f"recognises 1 of {CANDIDATES}",
        power="",
        holds=True,
        figures={"candidates": CANDIDATES},
    )
