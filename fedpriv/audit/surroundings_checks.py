"""What surrounds the mechanism: which networks may be trained, and all that leaves beside the vector."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpriv.audit.finding import Finding
from fedpriv.errors import Refused
from fedpriv.legacy_keras import keras
from fedpriv.model.allowlist import check_layers
from fedpriv.model.network import build_model
from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.audit.bench import Bench, Hospital
    from fedpriv.secagg.messages import Envelope

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
    study, name = hospital.study, hospital.name
    values = hospital.values()
    keys = {member: Ed25519PrivateKey.generate() for member in study.names}
    operator = Ed25519PrivateKey.generate()
    roster = {member: key.public_key().public_bytes_raw() for member, key in keys.items()}
    terms = study.round_terms(run=bytes(16), round_number=1, roster_digest=bytes(32), parameters=len(values))
    coordinator = CoordinatorRound(terms=terms, roster=roster, signing_key=operator)
    machines = {
        member: HospitalRound(
            name=member,
            signing_key=key,
            roster=roster,
            coordinator_key=operator.public_key().public_bytes_raw(),
            terms=terms,
            journal_head=bytes(32),
            last_round=0,
        )
        for member, key in keys.items()
    }
    sizes: list[int] = []
    requests = coordinator.open(np.zeros(len(values), dtype="<f4").tobytes())
    for stage in Stage:
        for member, request in requests.items():
            uploaded = values if member == name else np.zeros_like(values)
            reply = _answer(machines[member], request, uploaded)
            coordinator.receive(member, reply)
            if member == name:
                sizes.append(len(reply.body) + len(reply.vector))
        if stage is Stage.UNMASK:
            coordinator.total()
            requests = coordinator.close(bytes(32), bytes(32))
        elif stage is not Stage.CLOSE:
            requests = coordinator.advance()
    return sizes


def _answer(machine: HospitalRound, request: Envelope, values: NDArray[np.int64]) -> Envelope:
    match request.stage:
        case Stage.ADVERTISE:
            return machine.advertise(request)
        case Stage.SHARE:
            return machine.share(request)
        case Stage.UPLOAD:
            return machine.upload(request, lambda: values)
        case Stage.AGREE:
            return machine.agree(request)
        case Stage.UNMASK:
            return machine.unmask(request)
        case Stage.CLOSE:
            return machine.close(request)


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
