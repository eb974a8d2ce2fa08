"""Fixed maps of a smear's pixels that both fronts are made of: colour axes, soft bins, blurs.

*Source*: van de Sande et al. 2010 (opponent colours).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fedpriv.legacy_keras import tf

SCALES = (1.0, 2.0, 4.0)
"""Standard deviations of the Gaussian windows between which a band of texture lies, pixels."""

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""


def colour_axes(images: Tensor) -> Tensor:
    """(n, size, size, 3) in [0, 1] to brightness, red - green and yellow - blue, the same shape."""
    red, green, blue = tf.unstack(images, axis=-1)
    return tf.stack([(red + green + blue) / 3.0, red - green, (red + green) / 2.0 - blue], axis=-1)


def soft_bins(values: Tensor, limits: tuple[float, float], bins: int) -> Tensor:
    """Triangular memberships, (..., bins), that add up to 1; values outside belong to the end bins."""
    lowest, highest = limits
    centres = np.linspace(lowest, highest, bins, dtype=np.float32)
    spacing = (highest - lowest) / (bins - 1)
    distances = tf.abs(tf.clip_by_value(values, lowest, highest)[..., None] - centres)
    return tf.nn.relu(1.0 - distances / spacing)


def blur(maps: Tensor, scale: float) -> Tensor:
    """Gaussian window of standard deviation ``scale`` pixels, cut at three, reflected at the border."""
    reach = int(3 * scale + 0.5)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scale) ** 2)
    window = (window / window.sum()).astype(np.float32)
    down = np.tile(window[:, None, None, None], (1, 1, maps.shape[-1], 1))
    padded = tf.pad(maps, [[0, 0], [reach, reach], [reach, reach], [0, 0]], "REFLECT")
    across = tf.nn.depthwise_conv2d(padded, down.transpose(1, 0, 2, 3), [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(across, down, [1, 1, 1, 1], "VALID")
