"""The model card: what people should know who look at an answer of a model, beside its weights.

``model-card.json`` lies in the model folder, next to ``card.json``, which says what the weights are and what
they cost. It holds what was counted and stated, never a sentence: whoever shows it puts it into words, in any
language, and says *not measured* where a figure is absent. A round that replaces the model removes it.

*Source*: Mitchell et al. 2019 (model cards for model reporting).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from fedpriv.errors import HomeError
from fedpriv.model.evaluate import Evaluation
from fedpriv.toml_files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.model.folder import Card

MODEL_CARD_FILE = "model-card.json"

_LARGEST_BYTES = 1 << 20
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bundle that the card was made from, all of whose ``claims`` held when they were recomputed.

    ``not_shown`` counts what its evidence left open; ``roster`` is the fingerprint of who signed.
    """

    bundle_sha256: _Hex32
    claims: Annotated[int, msgspec.Meta(ge=1)]
    not_shown: Annotated[int, msgspec.Meta(ge=0)]
    roster: str


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was counted and stated about one model; an absent figure was not measured.

    ``declared_units`` are the images or patients that all ``hospitals`` declared together in the study.
    ``source`` is the operator's word on where the images come from. ``held_out`` is this model on images of
    the hospitals that trained, ``new_hospitals`` on images of hospitals that did not, ``without_privacy``
    another model, trained without noise, on the same images as ``held_out``.
    """

    model_digest: _Hex32
    hospitals: Annotated[int, msgspec.Meta(ge=1)]
    declared_units: Annotated[int, msgspec.Meta(ge=1)]
    proof: Proof
    source: str | None = None
    held_out: Evaluation | None = None
    new_hospitals: Evaluation | None = None
    without_privacy: Evaluation | None = None


def write_model_card(folder: Path, card: ModelCard) -> Path:
    """Write or replace the card in the model folder ``folder``; give its path."""
    path = folder / MODEL_CARD_FILE
    replace_file(path, msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n", HomeError)
    return path


def read_model_card(folder: Path, card: Card) -> ModelCard | None:
    """The model card of the model that ``card`` describes, or None if the folder has none.

    HomeError if it is malformed, or is about another model or other classes.
    """
    path = folder / MODEL_CARD_FILE
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        found = msgspec.json.decode(content, type=ModelCard)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HomeError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HomeError(f"{path}: {error}", hint="`fedpriv model card` makes it anew") from error
    if found.model_digest != card.model_digest:
        raise HomeError(f"{path}: about another model", hint="`fedpriv model card` makes it anew")
    for figures in (found.held_out, found.new_hospitals, found.without_privacy):
        if figures is not None and not _about(figures, card.classes):
            raise HomeError(
                f"{path}: figures of other classes than {', '.join(card.classes)}, or that do not add up",
                hint="`fedpriv model card` makes it anew",
            )
    return found


def _about(figures: Evaluation, classes: tuple[str, ...]) -> bool:
    names = tuple(one.name for one in figures.classes)
    rows = [len(row) for row in figures.confusion]
    total = sum(map(sum, figures.confusion))
    return names == classes and rows == [len(classes)] * len(classes) and total == figures.images > 0
