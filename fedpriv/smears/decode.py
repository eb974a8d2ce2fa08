"""One image file to one array, with a fixed preprocessing and nothing computed from the data.

Content decides, not the name: a text file called ``.jpg`` is refused, a PNG called ``.jpg`` is read.
The order is fixed: header, limits, pixels, upright (EXIF), RGB, scale bar covered, centre square,
box filter to ``size`` x ``size``, float32 in [0, 1].
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from fedpriv.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SMALLEST_SIDE_PX = 64
LARGEST_PIXELS = 50_000_000  # an 8192 x 6000 microscope camera fits; a decompression bomb does not
LARGEST_UPLOAD_PIXELS = 25_000_000  # a 6000 x 4000 camera fits; it takes 0.7 GB, maybe twice at once

# Microscope software burns its scale bar into the lower right corner, and its style differs between
# classes. On 224 x 224 fields all of it lies within the last 36 columns and 33 rows; 40 leaves a margin
# for JPEG's 8 x 8 blocks.
SCALE_BAR_FRACTION = 40 / 224
COVER_RGB = (255, 255, 255)

_OPAQUE_MODES = frozenset({"L", "RGB", "YCbCr"})
_TRANSPARENT_MODES = frozenset({"P", "LA", "PA", "RGBA"})  # a palette may hold a transparent colour

_CONTENT_LABEL = b"fedpriv-image-content-v1"


class Flaw(StrEnum):
    """Why a file is not decoded."""

    NOT_AN_IMAGE = "not_an_image"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    PIXEL_MODE = "pixel_mode"
    SEVERAL_FRAMES = "several_frames"
    DAMAGED = "damaged"


class BadImage(ImageError):
    """A file that is not decoded, for the reason ``flaw``."""

    def __init__(self, flaw: Flaw, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which files are decoded: formats by Pillow's names, pixel modes, size, whether of several frames."""

    formats: tuple[str, ...]
    modes: frozenset[str]
    largest_pixels: int
    several_frames: bool


FILES = Accepted(
    ("JPEG", "PNG", "TIFF", "BMP"),
    _OPAQUE_MODES | _TRANSPARENT_MODES | {"CMYK"},
    LARGEST_PIXELS,
    several_frames=True,
)
"""Of a hospital's own folder, whose admin chose them; of several frames the first is taken."""

UPLOADS = Accepted(
    ("JPEG", "PNG", "TIFF"),
    _OPAQUE_MODES | _TRANSPARENT_MODES,
    LARGEST_UPLOAD_PIXELS,
    several_frames=False,
)
"""From a stranger to the code: the fewest decoders. Which frame is meant, and which colours CMYK stands for
without its profile, would be a guess behind the back of whoever reads the answer."""


class Decoded(NamedTuple):
    """``pixels`` float32 ``(size, size, 3)``, values in [0, 1], and what the image shows, whatever the file.

    ``content`` (32 bytes) is the SHA-256 of the upright RGB pixels before anything is covered or resized:
    equal for copies in another lossless format, under another name, with other metadata.
    """

    pixels: NDArray[np.float32]
    content: bytes


def decode(path: Path, size: int) -> NDArray[np.float32]:
    """Read and preprocess the image at ``path``; shape ``(size, size, 3)``, values in [0, 1].

    Raises:
        ImageError: the file cannot be read as an image within the limits; the message names it.

    """
    return read_image(path, size).pixels


def read_image(path: Path, size: int) -> Decoded:
    """Like `decode`, with the digest of what was decoded; the file is read once."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path.name}: cannot be read ({error.strerror})") from error
    with stream:
        upright = _upright(stream, path.name, FILES)
        content = _content(upright)
        return Decoded(_preprocess(upright, size), content)


def decode_stream(stream: BinaryIO, name: str, size: int, accepted: Accepted = FILES) -> NDArray[np.float32]:
    """Like `decode`, from an open binary stream; ``name`` is what errors, all of them `BadImage`, call it."""
    return _preprocess(_upright(stream, name, accepted), size)


def _upright(stream: BinaryIO, name: str, accepted: Accepted) -> Image.Image:
    """The whole image in RGB, turned as EXIF says; nothing else of the metadata is used."""
    try:
        with Image.open(stream, formats=accepted.formats) as image:
            _check_header(image, name, accepted)
            return _to_rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        *most, last = accepted.formats
        raise BadImage(Flaw.NOT_AN_IMAGE, f"{name}: not a {', '.join(most)} or {last} image") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, accepted) from error
    except Exception as error:  # hostile bytes make Pillow's decoders raise nearly anything
        raise BadImage(Flaw.DAMAGED, f"{name}: corrupt or truncated") from error


def _check_header(image: Image.Image, name: str, accepted: Accepted) -> None:
    """Refuse what must not be decoded; only the header has been read so far."""
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE_PX:
        raise BadImage(
            Flaw.TOO_SMALL,
            f"{name}: {width} x {height} pixels, the smallest side allowed is {SMALLEST_SIDE_PX}",
        )
    if width * height > accepted.largest_pixels:
        raise _too_large(name, accepted)
    deep = _is_deep(image)
    if deep or image.mode not in accepted.modes:
        raise BadImage(
            Flaw.PIXEL_MODE,
            f"{name}: pixel mode {image.mode}{' with 16 bits a channel' if deep else ''} is not supported",
            hint="save it as 8-bit RGB; how to reduce 16-bit values is your microscope's decision, not ours",
        )
    if not accepted.several_frames and getattr(image, "n_frames", 1) > 1:
        raise BadImage(Flaw.SEVERAL_FRAMES, f"{name}: holds several images", hint="export one field a file")


def _is_deep(image: Image.Image) -> bool:
    """Whether a channel has 16 bits, of which Pillow would drop the lower 8 without a word."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else ()
    for tile in tiles:
        raw_mode = tile.args[0] if isinstance(tile.args, tuple) else tile.args
        if isinstance(raw_mode, str) and ";16" in raw_mode:
            return True
    return False


def _too_large(name: str, accepted: Accepted) -> BadImage:
    return BadImage(
        Flaw.TOO_LARGE,
        f"{name}: more than {accepted.largest_pixels:,} pixels",
        hint="export single fields, not whole slides",
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Greys are copied to three channels, CMYK is converted by Pillow, transparency lies over white."""
    if image.mode in _TRANSPARENT_MODES:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, rgba).convert("RGB")
    return image.convert("RGB")


def _content(image: Image.Image) -> bytes:
    """The digest of RGB pixels with their width and height."""
    digest = hashlib.sha256(_CONTENT_LABEL + struct.pack("<QQ", *image.size))
    digest.update(image.tobytes())
    return digest.digest()


def _preprocess(image: Image.Image, size: int) -> NDArray[np.float32]:
    width, height = image.size
    bar = round(min(width, height) * SCALE_BAR_FRACTION)
    image.paste(COVER_RGB, (width - bar, height - bar, width, height))
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.resize((size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side))
    return np.asarray(square, dtype=np.float32) / np.float32(255)
