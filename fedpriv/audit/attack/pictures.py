"""Reconstructions side by side with what they were made from. Never of a patient: generated smears only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_SIDE_PX = 128
_GAP_PX = 4
_HEADING_PX = 18


def side_by_side(path: Path, columns: Mapping[str, Sequence[NDArray[np.float32]]]) -> None:
    """Write a PNG: a column for each heading, a row for each image, float32 (h, w, 3) in [0, 1]."""
    rows = max(len(images) for images in columns.values())
    pitch = _SIDE_PX + _GAP_PX
    sheet = Image.new("RGB", (len(columns) * pitch, _HEADING_PX + rows * pitch), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (heading, images) in enumerate(columns.items()):
        pen.text((column * pitch + _GAP_PX, _GAP_PX), heading, fill="black")
        for row, image in enumerate(images):
            pixels = Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))
            large = pixels.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.NEAREST)
            sheet.paste(large, (column * pitch, _HEADING_PX + row * pitch))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "PNG")
