"""Files that should not be read, and odd ones that may be, with what the page answers to each."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image
from support.page import drawn_smear, encode

MARK = b"Ionescu-Maria-1961"
"""Stands in files and names, and must stand nowhere else afterwards."""


@dataclass(frozen=True)
class Upload:
    """``code`` is the refusal, or None where the image is read; ``status`` what a single upload answers."""

    name: str
    data: bytes
    code: str | None
    status: int


def png(
    width: int, height: int, colour: int = 2, bits: int = 8, rows: bytes | None = None, extra: bytes = b""
):
    """A PNG from its specification; ``rows`` are the raw scan lines, black ones by default."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if rows is None:
        rows = (b"\0" + bytes(width * channels * bits // 8)) * height
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(width: int, height: int, bits: int, data: bytes, next_page: int = 0) -> bytes:
    """An uncompressed little-endian RGB TIFF from its specification; ``next_page`` may point anywhere."""
    begin_bits = 8 + 2 + 12 * 9 + 4
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, begin_bits), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, begin_bits + 6), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data)),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    folder = struct.pack("<H", len(entries)) + body + struct.pack("<I", next_page)
    return b"II*\0" + struct.pack("<I", 8) + folder + struct.pack("<HHH", bits, bits, bits) + data


def solid(mode: str = "RGB", size: tuple[int, int] = (100, 100)) -> Image.Image:
    """One colour."""
    return Image.new(mode, size)


def frames(kind: str) -> bytes:
    """A file of two images."""
    noise = [Image.effect_noise((100, 100), spread).convert("RGB") for spread in (20, 80)]
    return encode(noise[0], kind, save_all=True, append_images=noise[1:])


def with_gps() -> bytes:
    """A smear whose EXIF says where it was taken, and by whom."""
    exif = Image.Exif()
    exif[0x010E] = MARK.decode()
    exif[0x8825] = {1: "N", 2: (44.0, 26.0, 8.0), 3: "E", 4: (26.0, 6.0, 9.0)}
    return drawn_smear(1, "JPEG", exif=exif)


def archive() -> bytes:
    """A zip that holds the mark in clear."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("x.html", b"<script>alert(1)</script>" + MARK)
    return stream.getvalue()


SMEAR = drawn_smear()
JPEG = drawn_smear(0, "JPEG")
NOISY_TIFF = encode(Image.effect_noise((120, 120), 60).convert("RGB"), "TIFF")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"><script>alert(1)</script></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(%stdin) run\n"
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>"
BOMB = b"a\0\0" + zlib.compress(bytes(200 << 20))
BROKEN_CHECKSUM = SMEAR[:2000] + bytes([SMEAR[2000] ^ 255]) + SMEAR[2001:]

UPLOADS = (
    # no image, whatever it is called
    Upload("text.jpg", b"remember to stain the slides " + MARK, "not_an_image", 415),
    Upload("eps.png", EPS, "not_an_image", 415),
    Upload("script.svg", SVG, "not_an_image", 415),
    Upload("svg.png", b"<?xml version='1.0'?>" + SVG, "not_an_image", 415),
    Upload("page.jpg", b"<!doctype html><script>alert(1)</script>", "not_an_image", 415),
    Upload("report.pdf", PDF, "not_an_image", 415),
    Upload("program.png", b"\x7fELF" + bytes(500), "not_an_image", 415),
    Upload("archive.tiff", archive(), "not_an_image", 415),
    Upload("empty.png", b"", "empty", 400),
    Upload("one-byte.png", b"\x89", "not_an_image", 415),
    Upload("signature.png", b"\x89PNG\r\n\x1a\n", "not_an_image", 415),
    Upload("random.jpg", np.random.default_rng(3).bytes(50_000), "not_an_image", 415),
    # images of other formats: each would be one more decoder to trust
    Upload("picture.gif", encode(solid(), "GIF"), "not_an_image", 415),
    Upload("animated.gif", frames("GIF"), "not_an_image", 415),
    Upload("picture.bmp", encode(solid(), "BMP"), "not_an_image", 415),
    Upload("picture.webp", encode(solid(), "WEBP"), "not_an_image", 415),
    Upload("picture.ico", encode(solid(), "ICO"), "not_an_image", 415),
    Upload("picture.ppm", encode(solid(), "PPM"), "not_an_image", 415),
    Upload("gif-and-script.png", b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)", "not_an_image", 415),
    # damaged
    Upload("truncated.jpg", JPEG[: len(JPEG) // 2], "damaged", 422),
    Upload("truncated.png", SMEAR[: len(SMEAR) // 2], "damaged", 422),
    Upload("truncated.tiff", NOISY_TIFF[: len(NOISY_TIFF) // 2], "damaged", 422),
    Upload("header-only.png", png(100, 100)[:33], "not_an_image", 415),
    Upload("checksum.png", BROKEN_CHECKSUM, "damaged", 422),
    # too large or too small
    Upload("100-megapixel.png", png(10_000, 10_000, rows=b"\0" * 100), "too_large", 413),
    Upload("gigapixel.png", png(2**31 - 1, 2**31 - 1, rows=b"\0"), "too_large", 413),
    Upload("26-megapixel.png", png(6240, 4160, rows=b"\0"), "too_large", 413),
    Upload("gigapixel.tiff", tiff(60_000, 60_000, 8, b"\0"), "too_large", 413),
    Upload("one-pixel.png", png(1, 1), "too_small", 422),
    Upload("thin.png", png(100_000, 1), "too_small", 422),
    Upload("narrow.jpg", encode(solid("RGB", (63, 500)), "JPEG"), "too_small", 422),
    # bombs that are small in pixels
    Upload("text-bomb.png", png(100, 100, extra=chunk(b"zTXt", BOMB)), "damaged", 422),
    Upload("profile-bomb.png", png(100, 100, extra=chunk(b"iCCP", BOMB)), "damaged", 422),
    # several images in one file
    Upload("animated.png", frames("PNG"), "several_frames", 415),
    Upload("pages.tiff", frames("TIFF"), "several_frames", 415),
    Upload("pair.jpg", frames("MPO"), "several_frames", 415),
    # colours that would have to be guessed
    Upload("cmyk.jpg", encode(solid("CMYK"), "JPEG"), "pixel_mode", 415),
    Upload("cmyk.tiff", encode(solid("CMYK"), "TIFF"), "pixel_mode", 415),
    Upload("grey-16-bit.png", png(100, 100, colour=0, bits=16), "pixel_mode", 415),
    Upload("colour-16-bit.png", png(100, 100, colour=2, bits=16), "pixel_mode", 415),
    Upload("colour-16-bit.tiff", tiff(100, 100, 16, bytes(60_000)), "pixel_mode", 415),
    Upload("float.tiff", encode(solid("F"), "TIFF"), "pixel_mode", 415),
    Upload("two-colours.png", encode(solid("1"), "PNG"), "pixel_mode", 415),
    Upload("lab.tiff", encode(solid("LAB"), "TIFF"), "pixel_mode", 415),
    # read, and nothing but its pixels
    Upload("gps.jpg", with_gps(), None, 200),
    Upload("archive-behind.jpg", JPEG + archive(), None, 200),
    Upload("html-inside.jpg", drawn_smear(0, "JPEG", comment=b"<script>alert(1)</script>" + MARK), None, 200),
    Upload("named-wrongly.txt", SMEAR, None, 200),
    Upload("looping.tiff", tiff(100, 100, 8, bytes(30_000), next_page=8), None, 200),
    Upload("../../../etc/passwd.png", SMEAR, None, 200),
    Upload("C:\\windows\\system32\\smear.png", SMEAR, None, 200),
    Upload("<script>alert(1)</script>.png", SMEAR, None, 200),
    Upload("Ionescu-Maria-1961.png", SMEAR, None, 200),
    Upload("n" * 300 + ".png", SMEAR, None, 200),
)  # fmt: skip
