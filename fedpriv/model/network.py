"""The networks that a study can name; each is a fixed architecture that every hospital has installed.

An architecture is never received: a coordinator that chooses the first layer can read images out of
gradients. Initial weights are drawn from fixed seeds, so everybody starts from the same vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import HomeError
from fedpriv.legacy_keras import keras
from fedpriv.model.allowlist import check_layers
from fedpriv.model.front import SmearFront
from fedpriv.model.histogram_front import HistogramFront
from fedpriv.model.weights import dimension, from_vector
from fedpriv.study import NetworkName

if TYPE_CHECKING:
    from fedpriv.model.folder import SavedModel
    from fedpriv.study import Study


def build_model(study: Study) -> keras.Model:
    """The study's network with its initial weights: images (n, size, size, 3) in [0, 1] to logits.

    StudyError if no network has that name; Refused if it holds a layer that is not allowed.
    """
    return build_network(study.network, image_size=study.images.size, classes=len(study.study.classes))


def build_network(name: NetworkName, *, image_size: int, classes: int) -> keras.Model:
    """The named network with its initial weights, checked against the list of allowed layers."""
    match name:
        case NetworkName.SMEAR_CNN:
            model = _smear_cnn(image_size, classes)
        case NetworkName.HISTOGRAM_CNN:
            model = _histogram_cnn(image_size, classes, features=1024)
        case NetworkName.HISTOGRAM_CNN_WIDE:
            model = _histogram_cnn(image_size, classes, features=2048)
    check_layers(model)
    return model


def restore(saved: SavedModel) -> keras.Model:
    """The network of a model folder with the weights of that folder; HomeError if they do not fit."""
    card = saved.card
    try:
        model = build_network(
            NetworkName(card.network), image_size=card.image_size, classes=len(card.classes)
        )
    except ValueError:
        raise HomeError(f"the model's network {card.network!r} is not known to this version") from None
    if dimension(model) != card.parameters:
        raise HomeError(
            f"the model has {card.parameters} parameters, {card.network} of this version {dimension(model)}"
        )
    from_vector(model, saved.vector)
    return model


def split_front(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """``model`` as (front, trunk): maps that never change, and all that is trained.

    The front has no weights, so a trainer may compute its maps once for each image.
    """
    maps = model.get_layer("front").output
    return keras.Model(model.input, maps, name="front_only"), model.get_layer("trunk")


def _smear_cnn(image_size: int, classes: int) -> keras.Model:
    """Fixed colour and texture maps, then two trained convolutions; 3,428 parameters at four classes."""
    images = keras.layers.Input((image_size, image_size, 3), name="images")
    maps = SmearFront(name="front")(images)
    return keras.Model(images, _trunk(tuple(maps.shape[1:]), classes)(maps), name="smear_cnn")


def _histogram_cnn(image_size: int, classes: int, *, features: int) -> keras.Model:
    """Windows of the field vote: one trained convolution on fixed features; 4,096 parameters of 1,024.

    Training without noise can use more features than noise leaves readable.
    """
    images = keras.layers.Input((image_size, image_size, 3), name="images")
    maps = HistogramFront(features, name="front")(images)
    inputs = keras.layers.Input(tuple(maps.shape[1:]), name="maps")
    votes = keras.layers.Conv2D(classes, 1, use_bias=False, kernel_initializer="zeros", name="votes")(inputs)
    logits = keras.layers.GlobalAveragePooling2D(name="logits")(votes)
    trunk = keras.Model(inputs, logits, name="trunk")
    return keras.Model(images, trunk(maps), name="histogram_cnn")


def _trunk(shape: tuple[int, int, int], classes: int) -> keras.Model:
    inputs = keras.layers.Input(shape, name="maps")
    hidden = keras.layers.Conv2D(16, 1, kernel_initializer=_seeded(1), name="mix")(inputs)
    hidden = keras.layers.GroupNormalization(4, name="mix_norm")(hidden)
    hidden = keras.layers.Activation("relu", name="mix_relu")(hidden)
    hidden = keras.layers.Conv2D(16, 3, strides=2, kernel_initializer=_seeded(2), name="shape")(hidden)
    hidden = keras.layers.GroupNormalization(4, name="shape_norm")(hidden)
    hidden = keras.layers.Activation("relu", name="shape_relu")(hidden)
    hidden = keras.layers.GlobalAveragePooling2D(name="mean")(hidden)
    logits = keras.layers.Dense(classes, kernel_initializer="zeros", name="logits")(hidden)
    return keras.Model(inputs, logits, name="trunk")


def _seeded(seed: int) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=seed)
