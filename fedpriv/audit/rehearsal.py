"""A whole round of the masked sum in memory, with keys made for it, to see what a hospital sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.secagg.messages import Envelope
    from fedpriv.study import Study


def replies(study: Study, name: str, values: NDArray[np.int64]) -> dict[Stage, Envelope]:
    """All that hospital ``name`` sends in a round of ``study`` where its peers upload zeros.

    ``values`` int64 (d,) go into the masked sum; the round runs to its end, so the sum was opened.
    """
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
    sent: dict[Stage, Envelope] = {}
    requests = coordinator.open(np.zeros(len(values), dtype="<f4").tobytes())
    for stage in Stage:
        for member, request in requests.items():
            uploaded = values if member == name else np.zeros_like(values)
            reply = _answer(machines[member], request, uploaded)
            coordinator.receive(member, reply)
            if member == name:
                sent[stage] = reply
        if stage is Stage.UNMASK:
            coordinator.total()
            requests = coordinator.close(bytes(32), bytes(32))
        elif stage is not Stage.CLOSE:
            requests = coordinator.advance()
    return sent


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
            return machine.close(request, bytes(32))
