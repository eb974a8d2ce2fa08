"""What a coordinator sees of one image, when it knows everything else: four views of one update.

The victim is a record of a hospital whose other records the attacker knows, and so subtracts. Each view comes
out of the trainers of `fedpriv node start`, afresh for each victim.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.audit.rehearsal import replies
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.ring import layout_for, unpack

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
    """Sees the updates of a hospital that holds ``victims``, and knows all of them but one.

    ``known`` is one record, which other hospitals hold where noise is shared. Updates are in clip norms;
    those of the raw view in multiples of the longest gradient.
    """

    def __init__(self, bench: Bench, victims: Records, known: Records) -> None:
        study = bench.study
        gradients = bench.gradients(victims)
        self.longest = _SLACK * float(np.linalg.norm(gradients, axis=1).max())
        self.l2_clip_norm = study.privacy.l2_clip_norm
        self._whole = gradients / self.longest
        self._clipped = clipped(gradients, self.l2_clip_norm)
        self._raw_hospital = bench.quiet(victims, l2_clip_norm=self.longest)
        self._clipping_hospital = bench.quiet(victims, l2_clip_norm=self.l2_clip_norm)
        self._sampled = study.training.sampling_probability
        self._hospitals = [bench.planned(bench.names[0], victims)]
        self._added = np.zeros(gradients.shape[1])
        if study.privacy.noise == "distributed":
            # The noise of the others is in the sum too: of as many as the claim counts on.
            others = study.names[1 : study.noise_shares.fewest_honest]
            self._hospitals += [bench.planned(name, known) for name in others]
            self._added = len(others) * clipped(bench.gradients(known), self.l2_clip_norm)[0]

    def views(self, victim: int, *, rounds: int = 1) -> dict[View, NDArray[np.float64]]:
        """Each view of one of the victims, float64 (d,), along its gradient.

        ``rounds`` noised updates from one and the same model are averaged: a coordinator that never moves it.
        """
        others = np.arange(len(self._whole)) != victim
        whole, cut = self._whole[others].sum(axis=0), self._clipped[others].sum(axis=0)
        noised = np.sum([hospital.releases(rounds).mean(axis=0) for hospital in self._hospitals], axis=0)
        return {
            View.RAW: self._raw_hospital.releases(1)[0] - whole,
            View.CLIPPED: self._clipping_hospital.releases(1)[0] - cut,
            # Who takes part in a step is hidden too; on average a record does so in this share of them.
            View.PRIVATE: noised / self._sampled - cut - self._added,
            View.MASKED: _masked(self._raw_hospital) - whole,
        }


def clipped(gradients: NDArray[np.float64], l2_clip_norm: float) -> NDArray[np.float64]:
    """What each row of (n, d) adds to a release, in clip norms."""
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    return np.asarray(gradients / np.maximum(norms, l2_clip_norm))


def _masked(hospital: Hospital) -> NDArray[np.float64]:
    """What the real state machine uploads, read as if it were an update."""
    study, values = hospital.study, hospital.values()
    words = np.frombuffer(replies(study, hospital.name, values)[Stage.UPLOAD].vector, dtype="<u8")
    lanes = unpack(words, len(values), layout_for(study.secure_aggregation.bits, len(study.names)))
    return hospital.read(lanes)
