"""Per-unit gradients of each allowed layer, from one backward pass.

A backward pass gives the gradient of the summed loss at every layer's output. Within a chunk of units,
the gradient of one unit with respect to a layer's weights follows from that and the layer's input: for a
convolution it is (patches of the input)^T (output gradient), for a normalisation's scale the sum of
normalised input times output gradient. No weight gradient is computed twice and none of the whole model
at once is needed.

*Formal guarantee*: row u of every result depends on the records of unit u only and equals the gradient of
that unit's loss, for the layer types in :func:`registry` and no others.

*Edge cases*: a unit's records are consecutive in the batch; a record that is not finite spoils its own
unit's row and no other (:mod:`fedpriv.dp.clipping` zeroes it). A layer type without a rule is refused by
name.

*Source*: Goodfellow 2015 (arXiv 1510.01799) for dense layers; Rochette et al. 2019 (arXiv 1912.06015) for
convolutions; Bu et al. 2023, "Differentially private optimization on large model at small cost", for the
book-keeping. The registry and the interface of its functions are tensorflow-privacy's, except that ours
return gradients where theirs return squared norms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow

from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import LayerRegistry

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""

PerUnitGradients = Callable[[Tensor, int], list[Tensor]]
"""(loss gradient at the layer's output, units in the batch) -> per weight a tensor (units, *weight shape)."""

LayerRule = Callable[[Any, Tensor], tuple[Tensor, PerUnitGradients]]
"""(layer, its input) -> (its output, the gradients of its weights, in the order of ``trainable_weights``)."""


def registry() -> LayerRegistry:
    """The rule of every layer type that may have weights under differential privacy."""
    rules = LayerRegistry()
    rules.insert(keras.layers.Dense, dense)
    rules.insert(keras.layers.Conv2D, convolution)
    rules.insert(keras.layers.DepthwiseConv2D, depthwise_convolution)
    rules.insert(keras.layers.GroupNormalization, group_normalization)
    return rules


def dense(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """Kernel: sum over records (and positions) of input x output gradient; bias: sum of output gradients."""
    _refuse_activation(layer)

    def gradients(at_output: Tensor, units: int) -> list[Tensor]:
        rows, columns = _by_unit(inputs, units), _by_unit(at_output, units)
        return _with_bias(layer, tf.matmul(rows, columns, transpose_a=True), columns)

    return layer(inputs), gradients


def convolution(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """A convolution is a dense layer on patches; the kernel's rows are (height, width, channel in)."""
    _refuse_activation(layer)
    if layer.groups != 1 or layer.data_format != "channels_last":
        raise ValueError(f"layer {layer.name}: only channels-last convolutions of one group have a rule")

    def gradients(at_output: Tensor, units: int) -> list[Tensor]:
        patches = inputs if _is_pointwise(layer) else _patches(layer, inputs)
        rows, columns = _by_unit(patches, units), _by_unit(at_output, units)
        kernel = tf.matmul(rows, columns, transpose_a=True)
        return _with_bias(layer, tf.reshape(kernel, [units, *layer.kernel.shape]), columns)

    return layer(inputs), gradients


def depthwise_convolution(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """Each input channel meets its own filters only; output channels are (channel in, multiplier)."""
    _refuse_activation(layer)
    if layer.data_format != "channels_last":
        raise ValueError(f"layer {layer.name}: only channels-last convolutions have a rule")
    height, width, channels, multiplier = layer.depthwise_kernel.shape

    def gradients(at_output: Tensor, units: int) -> list[Tensor]:
        patches, columns = _by_unit(_patches(layer, inputs), units), _by_unit(at_output, units)
        positions = tf.shape(columns)[1]
        patches = tf.reshape(patches, [units, positions, height * width, channels])
        by_channel = tf.reshape(columns, [units, positions, channels, multiplier])
        kernel = tf.einsum("upkc,upcm->ukcm", patches, by_channel)
        return _with_bias(layer, tf.reshape(kernel, [units, *layer.depthwise_kernel.shape]), columns)

    return layer(inputs), gradients


def group_normalization(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """Scale: sum of normalised input x output gradient; offset: sum of output gradients.

    The forward pass is the layer's own formula from per-channel means, which is faster than its reshapes.
    """
    if inputs.shape.rank != 4 or layer.axis not in (-1, 3) or not (layer.scale and layer.center):  # noqa: PLR2004
        raise ValueError(f"layer {layer.name}: only maps with channels last, scale and offset have a rule")
    centred = inputs - _group_mean(layer, inputs)
    normalised = centred * tf.math.rsqrt(_group_mean(layer, tf.square(centred)) + layer.epsilon)

    def gradients(at_output: Tensor, units: int) -> list[Tensor]:
        columns = _by_unit(at_output, units)
        return [tf.reduce_sum(columns * _by_unit(normalised, units), 1), tf.reduce_sum(columns, 1)]

    return normalised * layer.gamma + layer.beta, gradients


def _group_mean(layer: Any, maps: Tensor) -> Tensor:  # noqa: ANN401
    """Mean over positions and the channels of each group, (records, 1, 1, channels)."""
    channels = maps.shape[-1]
    by_channel = tf.reduce_mean(maps, [1, 2])
    by_group = tf.reduce_mean(tf.reshape(by_channel, [-1, layer.groups, channels // layer.groups]), 2)
    return tf.repeat(by_group, channels // layer.groups, axis=1)[:, None, None, :]


def _patches(layer: Any, inputs: Tensor) -> Tensor:  # noqa: ANN401
    """What each output position sees: (records, out height, out width, kernel height x width x channels)."""
    kernel_height, kernel_width = layer.kernel_size
    return tf.image.extract_patches(
        inputs,
        sizes=[1, kernel_height, kernel_width, 1],
        strides=[1, *layer.strides, 1],
        rates=[1, *layer.dilation_rate, 1],
        padding=layer.padding.upper(),
    )


def _is_pointwise(layer: Any) -> bool:  # noqa: ANN401
    return tuple(layer.kernel_size) == (1, 1) and tuple(layer.strides) == (1, 1)


def _by_unit(tensor: Tensor, units: int) -> Tensor:
    """All vectors that belong to one unit in one row: (units, records x positions, channels)."""
    return tf.reshape(tensor, [units, -1, tensor.shape[-1]])


def _with_bias(layer: Any, kernel: Tensor, columns: Tensor) -> list[Tensor]:  # noqa: ANN401
    return [kernel, tf.reduce_sum(columns, 1)] if layer.use_bias else [kernel]


def _refuse_activation(layer: Any) -> None:  # noqa: ANN401
    if layer.activation is not keras.activations.linear:
        raise ValueError(f"layer {layer.name}: the activation must be a layer of its own")
