"""The process that decodes uploads: ``python -m fedpriv.page.decoding``, started by `decoder`.

It gets bytes and gives back pixels or a flaw. Before the first byte of a stranger arrives it gives up, for
good, the right to write any file, to open one more file or socket, to dump its memory, and to take more
than `MOST_MEMORY_BYTES`. It knows no key, no user and no Django, and ends when its pipe ends.

A request is ``size``, ``length`` (uint32, little endian) and ``length`` bytes. An answer is a kind and a
length (uint8, uint32) and that many bytes: float32 pixels (size, size, 3) for `PIXELS`, a word for `FLAW`.
"""

from __future__ import annotations

import io
import resource
import struct
import sys
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from fedpriv.smears.decode import UPLOADS, BadImage, Flaw, decode_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = struct.Struct("<II")
ANSWER = struct.Struct("<BI")
PIXELS, FLAW = 0, 1

MOST_MEMORY_BYTES = 768 << 20
"""Of address space. The largest upload that is allowed, with transparency, takes 0.7 GB."""

_STANDARD_STREAMS = 3


def main() -> None:
    """Answer requests on standard input until it ends."""
    Image.init()  # later it could not open the modules of the formats any more
    _warm_up()
    _give_up_rights()
    for size, data in _requests(sys.stdin.buffer):
        kind, answer = _answer(data, size)
        sys.stdout.buffer.write(ANSWER.pack(kind, len(answer)) + answer)
        sys.stdout.buffer.flush()


def _answer(data: bytes, size: int) -> tuple[int, bytes]:
    try:
        return PIXELS, decode_stream(io.BytesIO(data), "upload", size, UPLOADS).tobytes()
    except BadImage as bad:
        return FLAW, bad.flaw.encode()
    except MemoryError:
        return FLAW, Flaw.TOO_LARGE.encode()


def _requests(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    while header := stream.read(REQUEST.size):
        size, length = REQUEST.unpack(header)
        yield size, stream.read(length)


def _warm_up() -> None:
    """Decode one image of each format, so that everything that is imported late is there."""
    for kind in UPLOADS.formats:
        stream = io.BytesIO()
        Image.new("RGB", (64, 64)).save(stream, kind)
        stream.seek(0)
        decode_stream(stream, kind, 16, UPLOADS)


def _give_up_rights() -> None:
    for limit, value in (
        (resource.RLIMIT_AS, MOST_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _STANDARD_STREAMS),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    main()
