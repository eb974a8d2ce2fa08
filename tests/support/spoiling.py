"""Spoil a file the way a user does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first ``old`` in a text file; it must be there."""
    text = path.read_text()
    if old not in text:
        raise ValueError(f"{old!r} is not in {path.name}")
    path.write_text(text.replace(old, new, 1))


def first_image_of(folder: Path, label: str) -> Path:
    """Hospital A's first image of a class of drawn smears."""
    return min((folder / label).glob("A-*.png"))
