"""A model folder: ``model.npy``, the weights, and ``card.json``, what they are and what they cost.

Reading needs no TensorFlow. The card carries the digest of the weights: a folder whose two files do not
belong together is refused.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from fedpriv.errors import HomeError
from fedpriv.secagg.terms import model_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpriv.study import Study

VECTOR_FILE = "model.npy"
CARD_FILE = "card.json"

_FLOAT32_BYTES = 4


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was spent on any one unit, composed over all rounds so far, under add-or-remove-one-unit.

    ``epsilon`` is absent where no noise was added: then nothing is claimed. ``candidate_success`` is the
    most often that the right one of 100 equally likely candidates can be picked.
    """

    unit: Literal["image", "patient"]
    noise: Literal["local", "distributed", "none"]
    delta: float
    epsilon: float | None = None
    candidate_success: float | None = None


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model folder holds. Digests are hex; ``rounds`` counts the complete rounds behind it."""

    study: str
    study_digest: str
    model_digest: str
    network: str
    classes: tuple[str, ...]
    image_size: Annotated[int, msgspec.Meta(ge=16, le=512)]
    parameters: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    rounds: int
    privacy: Claim


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model folder that was read and verified; ``vector`` is float32 (parameters,)."""

    card: Card
    vector: NDArray[np.float32]


def card_for(study: Study, vector: NDArray[np.float32], *, rounds: int, claim: Claim) -> Card:
    """The card of ``vector``, float32 (d,), trained by ``rounds`` rounds of ``study``."""
    return Card(
        study=study.study.name,
        study_digest=study.digest.hex(),
        model_digest=_digest(vector),
        network=study.model.name,
        classes=study.study.classes,
        image_size=study.images.size,
        parameters=len(vector),
        rounds=rounds,
        privacy=claim,
    )


def save_model(folder: Path, card: Card, vector: NDArray[np.float32]) -> None:
    """Write or replace a model folder as a whole: a reader finds the old one or the new one, never a half."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        np.save(fresh / VECTOR_FILE, vector.astype("<f4"), allow_pickle=False)
        (fresh / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)


def find_model_folder(path: Path) -> Path:
    """``path`` if it is a model folder, its ``model`` if it is a run; HomeError otherwise."""
    for folder in (path, path / "model"):
        if (folder / CARD_FILE).is_file():
            return folder
    raise HomeError(
        f"{path}: neither a model folder nor a run with one",
        hint=f"name a folder with {CARD_FILE} and {VECTOR_FILE}, or a run with model/ inside",
    )


def load_model(folder: Path) -> SavedModel:
    """Read a model folder; HomeError naming the file if one is missing, malformed or not the other's."""
    return parse_model(
        _content(folder / CARD_FILE),
        _content(folder / VECTOR_FILE),
        str(folder / CARD_FILE),
        str(folder / VECTOR_FILE),
    )


def parse_model(
    card_content: bytes, vector_content: bytes, card_source: str, vector_source: str
) -> SavedModel:
    """The model in the bytes of both files, whose names are for messages; HomeError as `load_model`."""
    try:
        card = msgspec.json.decode(card_content, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HomeError(f"{card_source}: {error}") from error
    vector = _vector_in(vector_content, vector_source, card.parameters)
    if _digest(vector) != card.model_digest:
        raise HomeError(f"{vector_source}: its digest is not the one in {CARD_FILE}", hint="it was altered")
    return SavedModel(card, vector)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HomeError(f"{path}: {error.strerror}", hint="name a run or a model folder") from error


def _vector_in(content: bytes, source: str, parameters: int) -> NDArray[np.float32]:
    """The one vector in a file of `numpy.save`, which is compared with what it writes: nothing is parsed."""
    header = io.BytesIO()
    claimed = {"descr": "<f4", "fortran_order": False, "shape": (parameters,)}
    np.lib.format.write_array_header_1_0(header, claimed)  # type: ignore[no-untyped-call]
    begin = header.tell()
    if content[:begin] != header.getvalue() or len(content) != begin + _FLOAT32_BYTES * parameters:
        raise HomeError(f"{source}: not the {parameters} float32 of its card, as numpy.save writes them")
    return np.frombuffer(content, dtype="<f4", offset=begin)


def _digest(vector: NDArray[np.float32]) -> str:
    return model_digest(vector.astype("<f4").tobytes()).hex()
