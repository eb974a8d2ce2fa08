"""The sum of per-unit clipped gradients: what bounds the influence of one unit.

*Formal guarantee*: the result is a sum with one term a unit; each term is a function of that unit's
records alone and has L2 norm at most C over all weights together (up to float32 rounding, which
:data:`ROUNDING` absorbs). So adding or removing one unit moves the sum by at most C.

*Edge cases*: a unit whose gradient norm is not finite contributes exactly zero, and so does an absent one
(padding). Norm 0 stays 0. A unit with several records contributes the clipped mean of their gradients.

*Source*: Abadi et al. 2016, algorithm 1; unit-level clipping of a mean: Charles et al. 2024, "Fine-tuning
large language models with user-level differential privacy" (ELS and ULS). Graph walk, layer registry and
clip weights are tensorflow-privacy's ``fast_gradient_clipping``.
"""

from __future__ import annotations

from typing import Any

from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow

from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads, gradient_clipping_utils

from fedpriv.dp import layer_gradients

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types."""

ROUNDING = 1.0 - 1e-4
"""Gradients are clipped to this share of C, so that float32 rounding lets no term exceed C, and no sum move
by more than C when a term is taken away: over 2,000 sets of 640 units it moved by up to 2.9e-5 C more than
the term."""


def clipped_gradient_sum(
    model: keras.Model,
    images: Tensor,
    labels: Tensor,
    present: Tensor,
    *,
    l2_clip_norm: float,
) -> list[Tensor]:
    """Sum over units of clipped mean gradients of the softmax cross-entropy, one tensor per trainable weight.

    ``images`` float32 (units, records, *shape), ``labels`` int32 (units, records), ``present`` float32
    the same, 1 for a record and 0 for padding. The model gives logits.
    """
    rows, clip_weights = _gradients_and_clip_weights(model, images, labels, present, l2_clip_norm)
    return [
        tf.reshape(tf.linalg.matvec(row, clip_weights, transpose_a=True), weight.shape)
        for row, weight in zip(rows, model.trainable_weights, strict=True)
    ]


def clipped_gradients(
    model: keras.Model,
    images: Tensor,
    labels: Tensor,
    present: Tensor,
    *,
    l2_clip_norm: float,
) -> Tensor:
    """The terms of that sum one by one: float32 (units, d), a unit's clipped gradient in each row."""
    rows, clip_weights = _gradients_and_clip_weights(model, images, labels, present, l2_clip_norm)
    return tf.concat(rows, axis=1) * clip_weights[:, None]


def _gradients_and_clip_weights(
    model: keras.Model, images: Tensor, labels: Tensor, present: Tensor, l2_clip_norm: float
) -> tuple[list[Tensor], Tensor]:
    """One finite tensor (units, -1) per trainable weight, and each unit's factor, (units,)."""
    units = tf.shape(labels)[0]
    share_of_unit = present / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)
    per_weight = _per_unit_gradients(
        model,
        tf.reshape(images, [-1, *images.shape[2:]]),
        tf.reshape(labels, [-1]),
        tf.reshape(share_of_unit, [-1]),
        units,
    )
    rows = [tf.reshape(gradient, [units, -1]) for gradient in per_weight]
    norms = tf.norm(tf.stack([tf.math.reduce_euclidean_norm(row, 1) for row in rows]), axis=0)
    finite = tf.math.is_finite(norms)
    clip_weights = clip_grads.compute_clip_weights(l2_clip_norm * ROUNDING, norms)
    # A factor of 0 does not silence what is not a number, so such rows are emptied; most chunks have none.
    rows = tf.cond(
        tf.reduce_all(finite), lambda: rows, lambda: [tf.where(finite[:, None], row, 0.0) for row in rows]
    )
    return rows, tf.where(finite & tf.reduce_any(present > 0, axis=1), clip_weights, 0.0)


def _per_unit_gradients(
    model: keras.Model, images: Tensor, labels: Tensor, loss_weights: Tensor, units: Tensor
) -> list[Tensor]:
    """One tensor (units, *weight shape) per trainable weight of the model, in its order."""
    rules = layer_gradients.registry()
    tape = tf.GradientTape(persistent=False, watch_accessed_variables=False)

    def run_layer(
        layer: keras.layers.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        if not layer.trainable_weights:
            return layer(*args, **kwargs), None
        if not rules.is_elem(layer):
            raise ValueError(f"layer {layer.name} ({type(layer).__name__}) has no per-example gradient rule")
        output, gradients = rules.lookup(layer)(layer, *args, **kwargs)
        tape.watch(output)
        return output, (layer, output, gradients)

    with tape:
        logits, visits = gradient_clipping_utils.model_forward_pass(model, images, generator_fn=run_layer)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_sum(losses * loss_weights)
    trained = [visit for visit in visits if visit is not None]
    at_outputs = tape.gradient(loss, [output for _, output, _ in trained])
    found: dict[Any, Tensor] = {}
    for (layer, _, gradients), at_output in zip(trained, at_outputs, strict=True):
        for weight, gradient in zip(layer.trainable_weights, gradients(at_output, units), strict=True):
            if weight.ref() in found:
                raise ValueError(f"layer {layer.name} is used twice; shared weights have no rule")
            found[weight.ref()] = gradient
    return [found[weight.ref()] for weight in model.trainable_weights]
