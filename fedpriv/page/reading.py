"""What the page says about one image: a closed schema, and the rule of when it says "cannot tell"."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.page.evidence import EvidenceMap

LEAST_CONFIDENCE = 0.6
"""A class is named from this probability on. Below it, a second opinion would be a guess."""

DECIMALS = 2
"""Of a probability that leaves the server: whoever asks many times learns less about the training images."""


class CannotTell(StrEnum):
    """Why no class is named."""

    LOW_CONFIDENCE = "low_confidence"
    NOT_A_SMEAR = "not_a_smear"


class Refusal(StrEnum):
    """Why an upload was not looked at."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    SEVERAL_FRAMES = "several_frames"
    PIXEL_MODE = "pixel_mode"
    DAMAGED = "damaged"
    TOO_COSTLY = "too_costly"


@dataclass(frozen=True, slots=True)
class Probability:
    """``value`` in [0, 1], rounded to `DECIMALS`; ``name`` is the study's name of the class."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer for one image that was looked at.

    ``probabilities`` stand in the order of the study; there are none where the image is no smear. ``top`` is
    the class of the highest probability, or None where ``cannot_tell`` says why none is named.
    """

    probabilities: tuple[Probability, ...]
    top: str | None
    cannot_tell: CannotTell | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One upload: either ``reading`` or ``refusal``. ``name`` is the file's name, for its sender only.

    ``map`` is there if it was asked for and the reading has probabilities.
    """

    name: str
    reading: Reading | None = None
    refusal: Refusal | None = None
    map: EvidenceMap | None = None

    @property
    def code(self) -> str:
        """All that is recorded of it: ``read``, or why not."""
        if self.reading is None:
            return str(self.refusal)
        return str(self.reading.cannot_tell or "read")


NOT_A_SMEAR = Reading((), None, CannotTell.NOT_A_SMEAR)


def reading_of(classes: Sequence[str], probabilities: Sequence[float]) -> Reading:
    """The reading of an image with ``probabilities`` (one a class, adding up to 1)."""
    top = max(range(len(classes)), key=probabilities.__getitem__)
    rounded = tuple(
        Probability(name, round(float(value), DECIMALS))
        for name, value in zip(classes, probabilities, strict=True)
    )
    if probabilities[top] < LEAST_CONFIDENCE:
        return Reading(rounded, None, CannotTell.LOW_CONFIDENCE)
    return Reading(rounded, classes[top])


_STATUS_OF_REFUSAL = {
    Refusal.EMPTY: 400,
    Refusal.NOT_AN_IMAGE: 415,
    Refusal.PIXEL_MODE: 415,
    Refusal.SEVERAL_FRAMES: 415,
    Refusal.TOO_LARGE: 413,
    Refusal.TOO_SMALL: 422,
    Refusal.DAMAGED: 422,
    Refusal.TOO_COSTLY: 422,
}


def status_of(outcomes: Sequence[Outcome]) -> int:
    """The HTTP status of an answer: 200 if any image was looked at, else why the first was not."""
    refusals = [outcome.refusal for outcome in outcomes if outcome.refusal is not None]
    return _STATUS_OF_REFUSAL[refusals[0]] if len(refusals) == len(outcomes) else 200
