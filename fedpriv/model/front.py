"""The fixed front of a smear network: colour and texture maps that no image had a say in.

Noise grows with the square root of the trained parameters, so what can be known without data is not
trained. Stained blood differs in hue and in how finely the chromatin is grained; so each pixel is
described by

- *soft colour bins*: brightness and two opponent colours, red - green and yellow - blue, each cut into
  :data:`BINS` overlapping triangular bins that add up to 1;
- *texture*: at three scales, the magnitude of band-passed brightness and colours, and of the brightness
  gradient, a first layer of wavelet scattering with a modulus as the only nonlinearity.

Both are averaged over cells of :data:`CELL` x :data:`CELL` pixels. The layer has no weights; its
constants are round numbers, set by the range of stained colours and the size of cells, the same for
everybody.

*Source*: Tramer and Boneh 2021 (scattering before private training); van de Sande et al. 2010 (opponent
colours); Bruna and Mallat 2013 (scattering).
"""

from __future__ import annotations

from typing import Any

from fedpriv.legacy_keras import keras, tf
from fedpriv.model.pixel_maps import SCALES, blur, colour_axes, soft_bins

CELL = 4
"""Pixels along the side of a cell."""

BINS = 16
"""Soft bins on each colour axis."""

_AXIS_RANGES = ((0.1, 0.95), (-0.1, 0.5), (-0.4, 0.2))
"""Of brightness, red - green, yellow - blue: beyond lies neither plasma nor any stained cell."""

_BAND_GAIN, _GRADIENT_GAIN = 8.0, 4.0
"""Bring the texture maps, mostly below 0.05, to the size of the colour bins."""

_TEXTURE_OFFSET = 0.12
_GAIN = 4.0
"""Texture maps less the offset, bins less their mean 1 / BINS, times the gain: near 0, near unit size."""

_TINY = 1e-6
"""Under the root of the gradient magnitude, whose slope at 0 is infinite."""

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""


class SmearFront(keras.layers.Layer):  # type: ignore[misc]
    """(n, size, size, 3) in [0, 1] -> (n, size / 4, size / 4, channels), without weights."""

    def call(self, images: Tensor) -> Tensor:
        """Colour bins, then texture maps, averaged over cells."""
        axes = colour_axes(images)
        bins = [soft_bins(axes[..., axis], limits, BINS) for axis, limits in enumerate(_AXIS_RANGES)]
        colour = tf.concat([_cell_means(one_axis) for one_axis in bins], axis=-1) - 1.0 / BINS
        texture = _cell_means(tf.concat(_texture_maps(axes), axis=-1)) - _TEXTURE_OFFSET
        return _GAIN * tf.concat([colour, texture], axis=-1)


def _cell_means(maps: Tensor) -> Tensor:
    return tf.nn.avg_pool2d(maps, CELL, CELL, "VALID")


def _texture_maps(axes: Tensor) -> list[Tensor]:
    """For each scale: band-pass magnitudes of all axes (3 channels), brightness gradient (1 channel)."""
    maps = []
    finer = axes
    for scale in SCALES:
        smooth = blur(axes, scale)
        maps += [_BAND_GAIN * tf.abs(finer - smooth), _GRADIENT_GAIN * _gradient_magnitude(smooth[..., :1])]
        finer = smooth
    return maps


def _gradient_magnitude(brightness: Tensor) -> Tensor:
    """Central differences over two pixels; the border repeats."""
    padded = tf.pad(brightness, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return tf.sqrt(tf.square(across) + tf.square(down) + _TINY)
