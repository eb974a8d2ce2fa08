"""One image file to one array, with a fixed preprocessing and nothing computed from the data.

Content decides, not the name: a text file called ``.jpg`` is refused, a PNG called ``.jpg`` is read.
The order is fixed: header, limits, pixels, upright (EXIF), RGB, scale bar covered, centre square,
box filter to ``size`` x ``size``, float32 in [0, 1].
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fedpriv.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
SMALLEST_SIDE_PX = 64
LARGEST_PIXELS = 50_000_000  # an 8192 x 6000 microscope camera fits; a decompression bomb does not

# Microscope software burns its scale bar into the lower right corner, and its style differs between
# classes. On 224 x 224 fields all of it lies within the last 36 columns and 33 rows; 40 leaves a margin
# for JPEG's 8 x 8 blocks.
SCALE_BAR_FRACTION = 40 / 224
COVER_RGB = (255, 255, 255)

_OPAQUE_MODES = frozenset({"L", "RGB", "CMYK", "YCbCr"})
_TRANSPARENT_MODES = frozenset({"P", "LA", "PA", "RGBA"})  # a palette may hold a transparent colour


_CONTENT_LABEL = b"fedpriv-image-content-v1"


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
        return _read_stream(stream, path.name, size)


def decode_stream(stream: BinaryIO, name: str, size: int) -> NDArray[np.float32]:
    """Like `decode`, from an open binary stream; ``name`` is what errors call it."""
    return _read_stream(stream, name, size).pixels


def _read_stream(stream: BinaryIO, name: str, size: int) -> Decoded:
    try:
        with Image.open(stream, formats=FORMATS) as image:
            _check_header(image, name)
            upright = _to_rgb(ImageOps.exif_transpose(image))
            content = _content(upright)
            return Decoded(_preprocess(upright, size), content)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a JPEG, PNG, TIFF or BMP image") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except Exception as error:  # hostile bytes make Pillow's decoders raise nearly anything
        raise ImageError(f"{name}: corrupt or truncated") from error


def _check_header(image: Image.Image, name: str) -> None:
    """Refuse what must not be decoded; only the header has been read so far."""
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE_PX:
        raise ImageError(
            f"{name}: {width} x {height} pixels, the smallest side allowed is {SMALLEST_SIDE_PX}",
        )
    if width * height > LARGEST_PIXELS:
        raise _too_large(name)
    if image.mode not in _OPAQUE_MODES | _TRANSPARENT_MODES:
        raise ImageError(
            f"{name}: pixel mode {image.mode} is not supported",
            hint="save it as 8-bit RGB; how to reduce 16-bit greys is your microscope's decision, not ours",
        )


def _too_large(name: str) -> ImageError:
    return ImageError(
        f"{name}: more than {LARGEST_PIXELS:,} pixels", hint="export single fields, not whole slides"
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
