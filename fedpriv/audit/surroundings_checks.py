"""What surrounds the mechanism: which networks may be trained, and all that leaves beside the vector."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from fedpriv.audit.finding import Finding
from fedpriv.audit.rehearsal import replies
from fedpriv.errors import Refused
from fedpriv.legacy_keras import keras
from fedpriv.model.allowlist import check_layers
from fedpriv.model.network import build_model

if TYPE_CHECKING:
    from fedpriv.audit.bench import Bench, Hospital

_UNITS = 8
_SHAPE = (8, 8, 3)


class SurroundingsChecks:
    """Checks of the study of ``bench`` and of a whole round of it in memory."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def neighbours(self) -> Finding:
        """With one unit less, a round sends messages of the same sizes, and prints nothing."""
        records = self._bench.records(_UNITS)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            first, second = (
                _sizes_of_a_round(self._bench.quiet(kept, l2_clip_norm=1.0, declared=_UNITS))
                for kept in (records, records[: _UNITS - 1])
            )
        said = "something was printed" if printed.getvalue() else "nothing was printed"
        return Finding(
            holds=first == second and not printed.getvalue(),
            observed=f"{sum(first)} bytes in {len(first)} messages, {sum(second)} with one unit less; {said}",
            p_value=None,
            catches="a count, a loss or a batch size beside the vector",
        )

    def layers(self) -> Finding:
        """The study's network passes the allow-list; what mixes or remembers records does not."""
        check_layers(build_model(self._bench.study))
        passed = [layer.name for layer in _refusable_layers() if not _is_refused(layer)]
        return Finding(
            holds=not passed,
            observed=f"passed although it must not: {', '.join(passed)}" if passed else "all refused",
            p_value=None,
            catches="BatchNorm, a subclass of it or of an allowed layer, dropout, a regulariser",
        )


def _sizes_of_a_round(hospital: Hospital) -> list[int]:
    """The sizes in bytes of all that ``hospital`` sends in one round with peers who upload zeros."""
    sent = replies(hospital.study, hospital.name, hospital.values())
    return [len(reply.body) + len(reply.vector) for reply in sent.values()]


class _Renamed(keras.layers.BatchNormalization):  # type: ignore[misc]
    """What a list of forbidden types does not know."""


class _Grouped(keras.layers.GroupNormalization):  # type: ignore[misc]
    """A subclass of an allowed layer may do anything."""


def _refusable_layers() -> list[keras.layers.Layer]:
    layers = keras.layers
    return [
        layers.BatchNormalization(name="BatchNormalization"),
        _Renamed(name="a-subclass-of-BatchNormalization"),
        _Grouped(1, name="a-subclass-of-GroupNormalization"),
        layers.LayerNormalization(name="LayerNormalization"),
        layers.Dropout(0.5, name="Dropout"),
        layers.Lambda(lambda maps: maps, name="Lambda"),
        layers.Conv2D(1, 1, kernel_regularizer="l2", name="a-regularised-Conv2D"),
        layers.Conv2D(1, 1, kernel_constraint="non_neg", name="a-constrained-Conv2D"),
    ]


def _is_refused(layer: keras.layers.Layer) -> bool:
    inputs = keras.layers.Input(_SHAPE)
    try:
        check_layers(keras.Model(inputs, layer(inputs)))
    except Refused:
        return True
    return False
