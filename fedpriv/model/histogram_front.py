"""A fixed front for real smears: how often each colour and each grain occurs, as no image had a say in.

Noise grows with what is trained, so what can be known without data is not trained. Stained blood differs in
how often colours and grains occur in a field. Three fixed layers say so:

- *cells*: each square of :data:`CELL` x :data:`CELL` pixels is described by soft histograms, triangular bins
  that add up to 1: of brightness, red - green and yellow - blue; of the two opponent colours jointly and of
  brightness and red - green jointly; and of brightness jointly with the magnitude of its band at each of
  three scales, as in wavelet scattering, which tells the grain of nuclei from the grain of plasma;
- *windows*: cells are averaged over windows of :data:`WINDOW` x :data:`WINDOW` cells, one cell apart, and the
  root is taken. Distances between roots are Hellinger's: a rare colour counts as much as plasma;
- *random features*: cosines of random projections, whose inner products are near a Gaussian kernel
  (:mod:`fedpriv.model.random_features`). Their length is near 1, so clipping treats images alike.

The layer has no weights; its constants are round numbers and a fixed seed, the same for everybody.

*Source*: van de Sande et al. 2010 (opponent colours); Bruna and Mallat 2013 (scattering); Arandjelovic and
Zisserman 2012 (roots of histograms); Mairal et al. 2014 (convolutional kernel networks); Tramer and Boneh
2021 (fixed features before private training).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fedpriv.legacy_keras import keras, tf
from fedpriv.model.pixel_maps import SCALES, blur, colour_axes, soft_bins
from fedpriv.model.random_features import random_projection

CELL = 8
"""Pixels along the side of a cell."""

WINDOW = 7
"""Cells along the side of a window: a field of 64 x 64 pixels has four, a smaller image one."""

KERNEL_SHARPNESS = 3.0
"""Of the Gaussian kernel exp(-(sharpness distance)^2 / 2) that the random features are for."""

_BINS, _JOINT_BINS = 32, 16
"""Soft bins on one colour axis alone; on each of two colour axes jointly."""

_GRAIN_BINS, _GRAIN_BRIGHTNESS_BINS = 16, 8
"""Soft bins of one magnitude, and of the brightness where it occurs."""

_BRIGHTNESS_RANGE, _RED_GREEN_RANGE, _YELLOW_BLUE_RANGE = (0.1, 1.0), (-0.1, 0.5), (-0.4, 0.2)
"""Beyond lies neither plasma nor any stained cell; what does lie beyond belongs to the end bins."""

_COLOUR_SHARE, _GRAIN_SHARE = 0.4, 0.2
"""Of single colour axes and of both joint colours, each; of grain: histograms of a cell add up to 1."""

_GRAIN_RANGE = (0.0, 0.4)
"""Of the root of a band's magnitude."""

_TINY = 1e-12
"""Under a root, whose slope at 0 is infinite."""

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""


class HistogramFront(keras.layers.Layer):  # type: ignore[misc]
    """(n, size, size, 3) in [0, 1] -> (n, windows, windows, features), without weights."""

    def __init__(self, features: int, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._features = features

    def call(self, images: Tensor) -> Tensor:
        """Histograms of cells, their mean over windows, random features of the roots."""
        histograms = cell_histograms(images)
        side = min(WINDOW, histograms.shape[1])
        roots = tf.sqrt(tf.nn.avg_pool2d(histograms, side, 1, "VALID") + _TINY)
        projection, phases = random_projection(histograms.shape[-1], self._features)
        angles = tf.tensordot(roots, KERNEL_SHARPNESS * projection, axes=1) + phases
        return float(np.sqrt(2.0 / self._features)) * tf.cos(angles)


def cell_histograms(images: Tensor) -> Tensor:
    """(n, size, size, 3) in [0, 1] -> (n, size / 8, size / 8, 992): those of a cell add up to 1."""
    brightness, red_green, yellow_blue = tf.unstack(colour_axes(images), axis=-1)
    single = [
        _cell_means(soft_bins(axis, limits, _BINS)) * (_COLOUR_SHARE / 3.0)
        for axis, limits in (
            (brightness, _BRIGHTNESS_RANGE),
            (red_green, _RED_GREEN_RANGE),
            (yellow_blue, _YELLOW_BLUE_RANGE),
        )
    ]
    reds = soft_bins(red_green, _RED_GREEN_RANGE, _JOINT_BINS)
    joint = [
        _joint_histogram(first, second) * (_COLOUR_SHARE / 2.0)
        for first, second in (
            (reds, soft_bins(yellow_blue, _YELLOW_BLUE_RANGE, _JOINT_BINS)),
            (soft_bins(brightness, _BRIGHTNESS_RANGE, _JOINT_BINS), reds),
        )
    ]
    places = soft_bins(brightness, _BRIGHTNESS_RANGE, _GRAIN_BRIGHTNESS_BINS)
    bands = tf.unstack(_band_magnitudes(brightness[..., None]), axis=-1)
    grain = [
        _joint_histogram(places, soft_bins(tf.sqrt(band + _TINY), _GRAIN_RANGE, _GRAIN_BINS))
        * (_GRAIN_SHARE / len(bands))
        for band in bands
    ]
    return tf.concat([*single, *joint, *grain], axis=-1)


def _cell_means(maps: Tensor) -> Tensor:
    return tf.nn.avg_pool2d(maps, CELL, CELL, "VALID")


def _joint_histogram(first: Tensor, second: Tensor) -> Tensor:
    """Of each cell, (n, rows, columns, bins x bins): how often a bin of one axis meets one of the other."""
    met = tf.matmul(_by_cell(first), _by_cell(second), transpose_a=True) / CELL**2
    return tf.reshape(met, [-1, *met.shape[1:3], met.shape[3] * met.shape[4]])


def _by_cell(maps: Tensor) -> Tensor:
    """(n, size, size, channels) -> (n, rows, columns, pixels of a cell, channels)."""
    rows, channels = maps.shape[1] // CELL, maps.shape[-1]
    whole = maps[:, : rows * CELL, : rows * CELL]
    split = tf.reshape(whole, [-1, rows, CELL, rows, CELL, channels])
    return tf.reshape(tf.transpose(split, [0, 1, 3, 2, 4, 5]), [-1, rows, rows, CELL**2, channels])


def _band_magnitudes(axes: Tensor) -> Tensor:
    """(n, size, size, k) -> (n, size, size, 3 k): what each scale's blur takes away from the finer one."""
    bands = []
    finer = axes
    for scale in SCALES:
        smooth = blur(axes, scale)
        bands.append(tf.abs(finer - smooth))
        finer = smooth
    return tf.concat(bands, axis=-1)
