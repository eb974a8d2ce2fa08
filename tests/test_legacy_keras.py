import os
import subprocess
import sys

import pytest


def run(program, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", program], env=kept | environment, capture_output=True, text=True, check=False
    )


# A child process inherits the level that its parent's import set.
@pytest.mark.parametrize("inherited", [{}, {"TF_CPP_MIN_LOG_LEVEL": "3"}])
def test_keras_is_version_2_and_the_terminal_stays_quiet(inherited):
    done = run(
        "from fedpriv.legacy_keras import keras, tf\n"
        "print(keras.layers.Dense.__module__.split('.')[0], float(tf.reduce_sum(tf.ones(3))))\n"
        "from tensorflow_privacy.privacy.fast_gradient_clipping import layer_registry",
        **inherited,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "tf_keras 3.0\n", "")


def test_tensorflow_that_came_first_with_keras_3_is_refused():
    program = "import tensorflow as tf; tf.keras.layers\nimport fedpriv.legacy_keras"
    done = run(program, TF_USE_LEGACY_KERAS="0")
    assert done.returncode != 0
    assert "fedpriv.legacy_keras" in done.stderr
