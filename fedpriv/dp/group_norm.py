"""Group normalisation and its gradients from sums over positions, one a record and channel.

The layer's own way, reshapes and moments left to automatic differentiation, takes about twice the time. The
gradients of scale and offset by record, which clipping needs, are among the sums that the backward pass
takes anyway.

*Formal guarantee*: outputs and gradients of a record depend on that record only.

*Edge cases*: a record that is not finite spoils its own rows and no other. A group of equal values gives the
offset, since ``epsilon`` is under the root.

*Source*: Wu and He 2018, "Group normalization", equations 1 to 6, and their derivative: with x' the
normalised input, g the gradient at the output times the scale and means over a group,
dx = (g - mean(g) - x' mean(g x')) / deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedpriv.legacy_keras import tf

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""

AtScaleAndOffset = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gradient at the output -> gradients of scale and offset by record, (records, channels) each."""


def group_normalise(
    maps: Tensor, scale: Tensor, offset: Tensor, *, groups: int, epsilon: float
) -> tuple[Tensor, AtScaleAndOffset]:
    """``maps`` (records, height, width, channels) normalised, and the gradients of its two weights.

    ``scale`` and ``offset`` are (channels,). The output can be differentiated for all three.
    """
    _, height, width, channels = maps.shape
    group_size = channels // groups

    def group_means(sums: Tensor) -> Tensor:
        """Sums over positions, (records, channels), to means of each channel's group, the same shape."""
        by_group = tf.reduce_sum(tf.reshape(sums, [-1, groups, group_size]), 2)
        return tf.repeat(by_group / (height * width * group_size), group_size, axis=1)

    centred = maps - _on_maps(group_means(_position_sums(maps)))
    inverse = tf.math.rsqrt(group_means(_position_sums(tf.square(centred))) + epsilon)
    centred, inverse = tf.stop_gradient(centred), tf.stop_gradient(inverse)

    def at_scale_and_offset(at_output: Tensor) -> tuple[Tensor, Tensor]:
        return _position_sums(at_output * centred) * inverse, _position_sums(at_output)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalised(_maps: Tensor, scale: Tensor, offset: Tensor) -> tuple[Tensor, Any]:
        def backward(at_output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            at_scale, at_offset = at_scale_and_offset(at_output)
            mean = group_means(scale * at_offset)
            projection = group_means(scale * at_scale)
            at_maps = (
                at_output * _on_maps(inverse * scale)
                - centred * _on_maps(tf.square(inverse) * projection)
                - _on_maps(inverse * mean)
            )
            return at_maps, tf.reduce_sum(at_scale, 0), tf.reduce_sum(at_offset, 0)

        return centred * _on_maps(inverse * scale) + offset, backward

    return normalised(maps, scale, offset), at_scale_and_offset


def _position_sums(maps: Tensor) -> Tensor:
    return tf.reduce_sum(maps, [1, 2])


def _on_maps(by_channel: Tensor) -> Tensor:
    """(records, channels) to (records, 1, 1, channels)."""
    return by_channel[:, None, None, :]
