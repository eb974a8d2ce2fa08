"""The one door to TensorFlow: Keras 2 behind it, and tensorflow-privacy importable.

Two switches have to be thrown before the first import of either library, so nothing else imports them:

- ``TF_USE_LEGACY_KERAS=1``: ``tf.keras`` is tf-keras, the maintained Keras 2, for which tensorflow-privacy
  (its layer registry, its optimizers) is written. Keras 3 has other layers and another training loop.
- ``sys.skip_tf_privacy_import = True``: tensorflow-privacy's own switch for importing its modules one by one.
  Its package import fails on TensorFlow above 2.15, which no longer has the Estimator.

Importing this module takes seconds: models import it at the top, commands import models inside functions.
TensorFlow's start-up lines about the processor, which no log level silences, are kept off the terminal unless
``TF_CPP_MIN_LOG_LEVEL`` asks for them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ["TF_USE_LEGACY_KERAS"] = "1"
sys.skip_tf_privacy_import = True  # type: ignore[attr-defined]

_ERRORS_ONLY = "3"
"""The level that is set here and inherited by child processes; a user who asks for lines gives another."""


@contextlib.contextmanager
def _start_up_lines_dropped() -> Iterator[None]:
    """Point file descriptor 2 at nothing: native code writes there before it reads its log level."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _ERRORS_ONLY) != _ERRORS_ONLY:
        yield
        return
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


with _start_up_lines_dropped():
    import tensorflow as tf

    keras = tf.keras
    if not keras.layers.Layer.__module__.startswith("tf_keras."):
        raise ImportError("tensorflow was imported before fedpriv.legacy_keras, so tf.keras is not Keras 2")
    from tf_keras.src.engine.functional import Functional  # the class of a plain graph has no public name

__all__ = ["Functional", "keras", "tf"]
