"""Gradients of the filters of a convolution, one a unit.

Two ways, equal but for rounding:

- *patches*: gather what each output position sees, then one product a unit, all units in one batched call.
  The copies grow with positions x kernel area x channels in.
- *unit after unit*: TensorFlow's own filter gradient, called once a unit. Each call costs a fixed time in
  proportion to the weights.

So few positions take patches and many take calls. Slices of contiguous channels are gathered several times
faster than ``tf.image.extract_patches`` copies them.

*Source*: Chellapilla et al. 2006 (convolution as a product with patches); Rochette et al. 2019
(arXiv 1912.06015).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fedpriv.legacy_keras import tf

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""

_POSITIONS_PER_FILTER = 4
"""Where the two ways take equal time, on processors with wide vectors and maps of 8 to 128 pixels."""


def by_unit(tensor: Tensor, units: Tensor) -> Tensor:
    """All vectors that belong to one unit in one row: (units, records x positions, channels)."""
    return tf.reshape(tensor, [units, -1, tensor.shape[-1]])


def filter_gradients(layer: Any, inputs: Tensor, at_output: Tensor, units: Tensor) -> Tensor:  # noqa: ANN401
    """Of a Conv2D, (units, kernel height, kernel width, channels in, filters)."""
    _, height, width, filters = at_output.shape
    if height * width > _POSITIONS_PER_FILTER * filters and tuple(layer.kernel_size) != (1, 1):
        return _unit_after_unit(layer, inputs, at_output, units)
    kernel = tf.matmul(by_unit(patches(layer, inputs), units), by_unit(at_output, units), transpose_a=True)
    return tf.reshape(kernel, [units, *layer.kernel.shape])


def depthwise_filter_gradients(layer: Any, inputs: Tensor, at_output: Tensor, units: Tensor) -> Tensor:  # noqa: ANN401
    """Of a depthwise convolution, (units, kernel height, kernel width, channels in, multiplier)."""
    height, width, channels, multiplier = layer.depthwise_kernel.shape
    seen = tf.reshape(patches(layer, inputs), [units, -1, height * width, channels])
    by_channel = tf.reshape(at_output, [units, -1, channels, multiplier])
    kernel = tf.einsum("upkc,upcm->ukcm", seen, by_channel)
    return tf.reshape(kernel, [units, *layer.depthwise_kernel.shape])


def patches(layer: Any, inputs: Tensor) -> Tensor:  # noqa: ANN401
    """What each output position sees: (records, positions, kernel height x kernel width x channels)."""
    _, height, width, channels = inputs.shape
    if tuple(layer.kernel_size) == tuple(layer.strides) == (1, 1):
        return tf.reshape(inputs, [-1, height * width, channels])
    rows, (above, below) = _window_places(layer, 0, height)
    columns, (left, right) = _window_places(layer, 1, width)
    padded_width = left + width + right
    padded = tf.pad(inputs, [[0, 0], [above, below], [left, right], [0, 0]])
    pixels = tf.reshape(padded, [-1, (above + height + below) * padded_width, channels])
    # (out row, out column, kernel row, kernel column) -> pixel
    places = rows[:, None, :, None] * padded_width + columns[None, :, None, :]
    seen = tf.gather(pixels, places.ravel().astype(np.int32), axis=1)
    return tf.reshape(seen, [-1, len(rows) * len(columns), places.shape[2] * places.shape[3] * channels])


def _window_places(layer: Any, axis: int, length: int) -> tuple[Any, tuple[int, int]]:  # noqa: ANN401
    """Places in the padded axis that each output sees, (outputs, kernel), and the padding at both ends."""
    kernel, stride, rate = layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis]
    reach = (kernel - 1) * rate + 1
    if layer.padding == "same":
        outputs = -(-length // stride)
        padding = max((outputs - 1) * stride + reach - length, 0)
    else:
        outputs = (length - reach) // stride + 1
        padding = 0
    places = np.arange(outputs)[:, None] * stride + np.arange(kernel)[None, :] * rate
    return places, (padding // 2, padding - padding // 2)


def _unit_after_unit(layer: Any, inputs: Tensor, at_output: Tensor, units: Tensor) -> Tensor:  # noqa: ANN401
    def of_unit(maps: tuple[Tensor, Tensor]) -> Tensor:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=maps[0],
            filter_sizes=layer.kernel.shape,
            out_backprop=maps[1],
            strides=[1, *layer.strides, 1],
            dilations=[1, *layer.dilation_rate, 1],
            padding=layer.padding.upper(),
        )

    by_units = [tf.reshape(maps, [units, -1, *maps.shape[1:]]) for maps in (inputs, at_output)]
    return tf.map_fn(of_unit, tuple(by_units), fn_output_signature=tf.TensorSpec(layer.kernel.shape))
