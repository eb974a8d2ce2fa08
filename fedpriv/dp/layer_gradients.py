"""Per-unit gradients of each allowed layer, from one backward pass.

A backward pass gives the gradient of the summed loss at every layer's output. Within a chunk of units,
the gradient of one unit with respect to a layer's weights follows from that and the layer's input, as each
rule below says. No weight gradient is computed twice.

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

from fedpriv.dp.filter_gradients import by_unit, depthwise_filter_gradients, filter_gradients
from fedpriv.dp.group_norm import group_normalise

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""

PerUnitGradients = Callable[[Tensor, Tensor], list[Tensor]]
"""(loss gradient at the layer's output, units in the batch) -> per weight a tensor (units, *weight shape)."""

LayerRule = Callable[[Any, Tensor], tuple[Tensor, PerUnitGradients]]
"""(layer, its input) -> (its output, the gradients of its weights, in the order of ``trainable_weights``)."""


def registry() -> LayerRegistry:
    """The rule of every layer type that may have weights under differential privacy."""
    rules = LayerRegistry()
    rules.insert(keras.layers.Dense, dense)
    rules.insert(keras.layers.Conv2D, convolution)
    rules.insert(keras.layers.DepthwiseConv2D, depthwise_convolution)
    rules.insert(keras.layers.SeparableConv2D, separable_convolution)
    rules.insert(keras.layers.GroupNormalization, group_normalization)
    return rules


def dense(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """Kernel: sum over records (and positions) of input x output gradient; bias: sum of output gradients."""
    _refuse_activation(layer)

    def gradients(at_output: Tensor, units: Tensor) -> list[Tensor]:
        kernel = tf.matmul(by_unit(inputs, units), by_unit(at_output, units), transpose_a=True)
        return _with_bias(layer, kernel, at_output, units)

    return layer(inputs), gradients


def convolution(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """A dense layer on patches of the input."""
    _refuse_activation(layer)
    _refuse_channels_first(layer)
    if layer.groups != 1:
        raise ValueError(f"layer {layer.name}: only convolutions of one group have a rule")

    def gradients(at_output: Tensor, units: Tensor) -> list[Tensor]:
        return _with_bias(layer, filter_gradients(layer, inputs, at_output, units), at_output, units)

    return layer(inputs), gradients


def depthwise_convolution(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """Each input channel meets its own filters only; output channels are (channel in, multiplier)."""
    _refuse_activation(layer)
    _refuse_channels_first(layer)

    def gradients(at_output: Tensor, units: Tensor) -> list[Tensor]:
        kernel = depthwise_filter_gradients(layer, inputs, at_output, units)
        return _with_bias(layer, kernel, at_output, units)

    return layer(inputs), gradients


def separable_convolution(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """A depthwise convolution, then a dense layer at every position."""
    _refuse_activation(layer)
    _refuse_channels_first(layer)
    between = tf.nn.depthwise_conv2d(
        inputs,
        layer.depthwise_kernel,
        strides=[1, *layer.strides, 1],
        padding=layer.padding.upper(),
        dilations=layer.dilation_rate,
    )
    mixing = layer.pointwise_kernel[0, 0]
    output = tf.matmul(between, mixing)

    def gradients(at_output: Tensor, units: Tensor) -> list[Tensor]:
        at_between = tf.matmul(at_output, mixing, transpose_b=True)
        depthwise = depthwise_filter_gradients(layer, inputs, at_between, units)
        pointwise = tf.matmul(by_unit(between, units), by_unit(at_output, units), transpose_a=True)
        return [depthwise, *_with_bias(layer, pointwise[:, None, None], at_output, units)]

    return (output + layer.bias if layer.use_bias else output), gradients


def group_normalization(layer: Any, inputs: Tensor) -> tuple[Tensor, PerUnitGradients]:  # noqa: ANN401
    """Scale: sum of normalised input x output gradient; offset: sum of output gradients."""
    if inputs.shape.rank != 4 or layer.axis not in (-1, 3):  # noqa: PLR2004
        raise ValueError(f"layer {layer.name}: only maps with channels last have a rule")
    channels = inputs.shape[-1]
    output, at_scale_and_offset = group_normalise(
        inputs,
        tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones([channels]),
        tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros([channels]),
        groups=layer.groups,
        epsilon=layer.epsilon,
    )

    def gradients(at_output: Tensor, units: Tensor) -> list[Tensor]:
        trained = (layer.scale, layer.center)
        by_record = zip(at_scale_and_offset(at_output), trained, strict=True)
        return [_unit_sums(gradient, units) for gradient, is_trained in by_record if is_trained]

    return output, gradients


def _unit_sums(tensor: Tensor, units: Tensor) -> Tensor:
    """(units, channels): the sum over a unit's records and their positions."""
    return tf.reduce_sum(by_unit(tensor, units), 1)


def _with_bias(layer: Any, kernel: Tensor, at_output: Tensor, units: Tensor) -> list[Tensor]:  # noqa: ANN401
    return [kernel, _unit_sums(at_output, units)] if layer.use_bias else [kernel]


def _refuse_activation(layer: Any) -> None:  # noqa: ANN401
    if layer.activation is not keras.activations.linear:
        raise ValueError(f"layer {layer.name}: the activation must be a layer of its own")


def _refuse_channels_first(layer: Any) -> None:  # noqa: ANN401
    if layer.data_format != "channels_last":
        raise ValueError(f"layer {layer.name}: only channels-last convolutions have a rule")
