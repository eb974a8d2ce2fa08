"""What a coordinator sees of one image, when it knows everything else: four views of one update.

The victim is the only record of its hospital that the attacker does not know; known ones can be subtracted
and are left out. Each view comes out of the trainers of `fedpriv node start`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.audit.rehearsal import replies
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.ring import layout_for, signed_sum, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.audit.bench import Bench, Hospital, Records

_SLACK = 1.01


class View(StrEnum):
    """In the order in which protection is added; the mask alone hides the raw update."""

    RAW = "raw update"
    CLIPPED = "clipped update"
    PRIVATE = "noised update"
    MASKED = "masked update"


class Coordinator:
    """Sees the updates of hospitals of ``bench``, and knows all their records but one.

    ``known`` is one record, which hospitals other than the victim's hold where noise is shared.
    """

    def __init__(self, bench: Bench, known: Records) -> None:
        self._bench = bench
        self._others: list[Hospital] = []
        self._known = np.zeros(len(bench.vector))
        study = bench.study
        if study.privacy.noise == "distributed":
            honest = study.noise_shares.fewest_honest
            self._others = [bench.planned(name, known) for name in study.names[1:honest]]
            self._known = len(self._others) * self.clipped(bench.gradients(known)[0])

    def clipped(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """A record's share of a release, in clip norms."""
        return gradient / max(self._bench.study.privacy.l2_clip_norm, float(np.linalg.norm(gradient)))

    def views(self, victim: Records, *, rounds: int = 1) -> dict[View, NDArray[np.float64]]:
        """Each view of one record, float64 (d,), along its gradient.

        ``rounds`` noised updates from one and the same model are averaged: a coordinator that never moves it.
        """
        bench = self._bench
        norm = float(np.linalg.norm(bench.gradients(victim)[0]))
        raw = bench.quiet(victim, l2_clip_norm=_SLACK * norm)
        clipped = bench.quiet(victim, l2_clip_norm=bench.study.privacy.l2_clip_norm)
        hospitals = [bench.planned(bench.names[0], victim), *self._others]
        noised = sum(hospital.releases(rounds).mean(axis=0) for hospital in hospitals)
        return {
            View.RAW: raw.releases(1)[0],
            View.CLIPPED: clipped.releases(1)[0],
            View.PRIVATE: noised - self._known,
            View.MASKED: _masked(raw),
        }


def _masked(hospital: Hospital) -> NDArray[np.float64]:
    """What the real state machine uploads, read as if it were an update."""
    study = hospital.study
    values = hospital.values()
    bits = study.secure_aggregation.bits
    words = np.frombuffer(replies(study, hospital.name, values)[Stage.UPLOAD].vector, dtype="<u8")
    lanes = unpack(words, len(values), layout_for(bits, len(study.names)))
    return signed_sum(lanes, 1, bits) / float(2**bits)
