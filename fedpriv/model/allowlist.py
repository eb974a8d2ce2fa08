"""Which layers may be trained on private images: exactly these types, and nothing hidden in them.

*Formal guarantee*: a model that passes computes each record's output from that record and the trainable
weights alone. Then the gradient of one unit depends on that unit only, which is what clipping bounds.

*Edge cases*: a subclass of an allowed layer is refused, since it may do anything; so is every layer with a
weight that is not trained (BatchNorm's running means returned a record to six digits), a regulariser, an
activity loss, a constraint, an activation outside the list, or a second use of the same weights.

*Source*: Opacus' ``ModuleValidator``, a deny-list by exact type, which a subclass of BatchNorm passes.
"""

from __future__ import annotations

from fedpriv.errors import Refused
from fedpriv.legacy_keras import Functional, keras
from fedpriv.model.front import SmearFront
from fedpriv.model.histogram_front import HistogramFront

_WEIGHTLESS = frozenset(
    {
        keras.layers.InputLayer,
        keras.layers.Activation,
        keras.layers.AveragePooling2D,
        keras.layers.Concatenate,
        keras.layers.Flatten,
        keras.layers.GlobalAveragePooling2D,
        keras.layers.GlobalMaxPooling2D,
        keras.layers.MaxPooling2D,
        HistogramFront,
        SmearFront,
    }
)

_TRAINABLE = frozenset(
    {
        keras.layers.Conv2D,
        keras.layers.Dense,
        keras.layers.DepthwiseConv2D,
        keras.layers.GroupNormalization,
        keras.layers.SeparableConv2D,
    }
)

ALLOWED = _WEIGHTLESS | _TRAINABLE

_ACTIVATIONS = frozenset(
    {keras.activations.linear, keras.activations.relu, keras.activations.tanh, keras.activations.elu}
)


def check_layers(model: keras.Model) -> None:
    """Refused, naming the layer and the rule, unless every layer of ``model`` is allowed."""
    if type(model) is not Functional:
        raise Refused(f"model {model.name}: {type(model).__name__} is not a plain graph of layers")
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            check_layers(layer)
        else:
            _check_layer(layer)
        if len(layer.inbound_nodes) > _uses_in_its_model(layer):
            raise Refused(f"layer {layer.name} is used more than once: shared weights have no clipping rule")
    if model.losses:
        raise Refused(f"model {model.name}: a loss that depends on its inputs or weights was added to it")


def _uses_in_its_model(layer: keras.layers.Layer) -> int:
    """A nested model's node is made when it is built and again when it is called."""
    return 2 if isinstance(layer, keras.Model) else 1


def _check_layer(layer: keras.layers.Layer) -> None:
    kind = type(layer)
    if kind not in ALLOWED:
        raise Refused(
            f"layer {layer.name}: {kind.__name__} is not on the list of layers for private training",
            hint=f"allowed are {', '.join(sorted(allowed.__name__ for allowed in ALLOWED))}",
        )
    if layer.non_trainable_weights:
        raise Refused(f"layer {layer.name} ({kind.__name__}) has weights that are not trained")
    if layer.weights and kind in _WEIGHTLESS:
        raise Refused(f"layer {layer.name} ({kind.__name__}) must have no weights")
    for attribute, value in vars(layer).items():
        if attribute.endswith(("_regularizer", "_constraint")) and value:
            raise Refused(f"layer {layer.name} ({kind.__name__}): {attribute.strip('_')} is not allowed")
    if getattr(layer, "activation", keras.activations.linear) not in _ACTIVATIONS:
        raise Refused(f"layer {layer.name} ({kind.__name__}): its activation is not on the list")
