"""Networks that no study can name: an auditor's, to see a mechanism where its protection is put to the test.

The shipped network adds over places and forgets where things lie, so a picture hardly comes out of its
gradient. The mechanism must not rest on that: it is attacked under networks that hide nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpriv.legacy_keras import keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

CNN_SIZE = 32
"""Pixels along the side of what :func:`common_cnn` looks at."""


def common_cnn(classes: int) -> keras.Model:
    """Three convolutions and a dense layer, 26,804 parameters at four classes: as found in any tutorial."""
    trunk = _trunk(CNN_SIZE)
    maps = trunk
    for number, filters in enumerate((16, 24, 24)):
        maps = keras.layers.Conv2D(
            filters,
            5,
            strides=2,
            padding="same",
            kernel_initializer=keras.initializers.GlorotUniform(seed=number),
        )(maps)
        maps = keras.layers.Activation("elu")(maps)
    logits = keras.layers.Dense(classes, kernel_initializer=keras.initializers.GlorotUniform(seed=9))(
        keras.layers.Flatten()(maps)
    )
    return _whole(trunk, logits, CNN_SIZE)


def canary_network(size: int, classes: int) -> keras.Model:
    """One dense layer from zero: a record of a single lit value moves weights that no other one moves."""
    trunk = _trunk(size)
    logits = keras.layers.Dense(classes, use_bias=False, kernel_initializer="zeros")(
        keras.layers.Flatten()(trunk)
    )
    return _whole(trunk, logits, size)


def imprinting_network(size: int, classes: int, thresholds: NDArray[np.float32]) -> keras.Model:
    """A first layer that sorts records by brightness: unit k passes on what is brighter than threshold k.

    Every unit feeds the classes alike. *Source*: Fowl et al. 2022, "Robbing the Fed", section 3.
    """
    pixels, units = size * size * 3, len(thresholds)
    trunk = _trunk(size)
    sort, outputs = keras.layers.Dense(units), keras.layers.Dense(classes)
    brightness = sort(keras.layers.Flatten()(trunk))
    model = _whole(trunk, outputs(keras.layers.Activation("relu")(brightness)), size)
    sort.set_weights([np.full((pixels, units), 1 / pixels, np.float32), -thresholds])
    spread = np.linspace(-1, 1, classes, dtype=np.float32)
    outputs.set_weights([np.tile(spread, (units, 1)), np.zeros(classes, np.float32)])
    return model


def _trunk(size: int) -> keras.layers.Layer:
    return keras.layers.Input((size, size, 3))


def _whole(inputs: keras.layers.Layer, logits: keras.layers.Layer, size: int) -> keras.Model:
    """Behind a front that changes nothing, as trainers split a network."""
    images = keras.layers.Input((size, size, 3))
    front = keras.layers.Activation("linear", name="front")(images)
    return keras.Model(images, keras.Model(inputs, logits, name="trunk")(front))
