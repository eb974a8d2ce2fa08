"""The one zip file that given entries make, byte for byte; nothing else is read as a bundle.

Entries are stored without compression, in their order, with one fixed time and one fixed mode. Reading walks
the entries from the front and makes the archive of what it found anew: only if that is the whole file, to the
last byte, are they given back. So there is no room for what zip files are misused for: no second directory,
no entry that one program sees and another does not, no compressed bomb, encryption, link, comment or
trailing data.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from typing import TYPE_CHECKING

from fedpriv.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_BYTES = 1 << 29
MOST_ENTRIES = 4096

_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_MODE = 0o100644 << 16
_ENTRY = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7, local file header
_ENTRY_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_PATH = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,63}/)?[A-Za-z0-9][A-Za-z0-9.-]{0,63}")


def pack(entries: Mapping[str, bytes]) -> bytes:
    """The archive of ``entries``, path to content, in their order; the same entries give the same bytes.

    BundleError if they are too many, too large, or one has a path that an archive here may not have.
    """
    if len(entries) > MOST_ENTRIES or sum(map(len, entries.values())) > LARGEST_BYTES:
        raise BundleError(f"a bundle holds at most {MOST_ENTRIES} entries and {LARGEST_BYTES >> 20} MiB")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for path, content in entries.items():
            if not _PATH.fullmatch(path):
                raise BundleError(f"{path!r} is no path of an entry")
            entry = zipfile.ZipInfo(path, _TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            archive.writestr(entry, content)
    return stream.getvalue()


def unpack(content: bytes, source: str) -> dict[str, bytes]:
    """The entries of an archive that `pack` made; BundleError naming ``source`` and what is wrong."""
    entries: dict[str, bytes] = {}
    place = 0
    while content[place : place + 4] == _ENTRY_SIGNATURE:
        if len(entries) == MOST_ENTRIES:
            raise BundleError(f"{source}: more than {MOST_ENTRIES} entries")
        path, data, place = _entry_at(content, place, source)
        if path in entries:
            raise BundleError(f"{source}: holds {path} twice")
        entries[path] = data
    if not entries:
        raise BundleError(f"{source}: not a bundle", hint="`fedpriv round` writes one into the run's folder")
    made = pack(entries)
    if made != content:
        raise BundleError(
            f"{source}: {_difference(made, content)}",
            hint="a bundle is its entries and nothing else; get it anew",
        )
    return entries


def _entry_at(content: bytes, place: int, source: str) -> tuple[str, bytes, int]:
    """Path and data of the entry whose header starts at ``place``, and where the next one starts."""
    if len(content) < place + _ENTRY.size:
        raise BundleError(f"{source}: cut short")
    _, _, flags, method, _, _, _, _, size, path_length, _ = _ENTRY.unpack_from(content, place)
    begin = place + _ENTRY.size + path_length
    path = content[place + _ENTRY.size : begin].decode("ascii", "backslashreplace")
    if not _PATH.fullmatch(path):
        raise BundleError(f"{source}: {path[:80]!r} is no path of an entry")
    if flags & _ENCRYPTED:
        raise BundleError(f"{source}: {path} is encrypted")
    if method != zipfile.ZIP_STORED:
        raise BundleError(f"{source}: {path} is compressed; entries of a bundle are stored as they are")
    if len(content) < begin + size:
        raise BundleError(f"{source}: cut short inside {path}")
    return path, content[begin : begin + size], begin + size


def _difference(made: bytes, content: bytes) -> str:
    if content.startswith(made):
        return f"{len(content) - len(made)} bytes follow its end"
    if made.startswith(content):
        return "cut short"
    return "its bytes are not those that its entries make: a header, a checksum or the directory was changed"
