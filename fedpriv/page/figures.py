"""The counted figures of a model card, as lines of the tables that show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from fedpriv.model.evaluate import wilson_interval

if TYPE_CHECKING:
    from fedpriv.model.evaluate import Evaluation
    from fedpriv.model.model_card import ModelCard


@dataclass(frozen=True, slots=True)
class Share:
    """So much of ``of`` images, with the ends of its 95 % interval; all in [0, 1]."""

    value: float
    of: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often a model is right; ``share`` is None where that was not measured."""

    title: str
    share: Share | None


@dataclass(frozen=True, slots=True)
class ClassLine:
    """How one class fares: recognised, and taken for which; ``number`` is its place among them."""

    name: str
    number: int
    share: Share | None
    taken_for: tuple[int, ...]


def accuracies(card: ModelCard | None) -> tuple[Accuracy, ...]:
    """With privacy, without it, and where nobody trained."""
    held_out, plain, new = (
        (None, None, None) if card is None else (card.held_out, card.without_privacy, card.new_hospitals)
    )
    return (
        Accuracy(_("this model, hospitals that trained"), _overall(held_out)),
        Accuracy(_("the same without privacy"), _overall(plain)),
        Accuracy(_("this model, hospitals that did not train"), _overall(new)),
    )


def by_class(card: ModelCard | None) -> tuple[ClassLine, ...]:
    """A line a class, where that was measured."""
    if card is None or card.held_out is None:
        return ()
    return tuple(
        ClassLine(figures.name, number, _share(row[number], sum(row)), row)
        for number, (figures, row) in enumerate(
            zip(card.held_out.classes, card.held_out.confusion, strict=True)
        )
    )


def _overall(figures: Evaluation | None) -> Share | None:
    if figures is None:
        return None
    hits = sum(row[number] for number, row in enumerate(figures.confusion))
    return _share(hits, figures.images)


def _share(hits: int, of: int) -> Share | None:
    if not of:
        return None
    return Share(hits / of, of, *wilson_interval(hits / of, of))
