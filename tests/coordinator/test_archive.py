"""One zip file for given entries; every other file with the same entries is refused."""

import hashlib
import io
import struct
import time
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.coordinator import archive
from fedpriv.coordinator.archive import pack, unpack
from fedpriv.errors import BundleError

ENTRIES = {"contents.json": b"{}", "journals/A.json": b"[1]", "model/model.npy": bytes(range(256))}
HONEST = pack(ENTRIES)


def zipped(build, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        build(made)
    return stream.getvalue()


def canonical(path):
    entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o100644 << 16
    return entry


def test_entries_come_back_in_their_order():
    assert list(unpack(HONEST, "it").items()) == list(ENTRIES.items())
    turned = dict(reversed(ENTRIES.items()))
    assert list(unpack(pack(turned), "it")) == list(turned)


def test_the_bytes_never_change():
    """A bundle of today must be readable as long as anybody asks; the digest is of our own first version."""
    assert (
        hashlib.sha256(HONEST).hexdigest()
        == "35f6be6baec609e33c7d1b62dec21c554ccd548d1332f081f4c28e5fe9a694f0"
    )


def test_other_programs_read_it():
    with zipfile.ZipFile(io.BytesIO(HONEST)) as made:
        assert made.testzip() is None
        assert {name: made.read(name) for name in made.namelist()} == ENTRIES


def twice(made):
    made.writestr(canonical("a.json"), b"1")
    with pytest.warns(UserWarning, match="Duplicate"):
        made.writestr(canonical("a.json"), b"2")


def bomb(made):
    made.writestr(canonical("a.json"), bytes(50_000_000), zipfile.ZIP_DEFLATED)


def lzma(made):
    made.writestr(canonical("a.json"), b"1" * 99, zipfile.ZIP_LZMA)


def link(made):
    entry = canonical("a.json")
    entry.external_attr = 0o120777 << 16
    made.writestr(entry, b"/etc/passwd")


def commented(made):
    made.writestr(canonical("a.json"), b"1")
    made.comment = b"x"


def encrypted():
    content = bytearray(HONEST)
    content[6] |= 1
    return bytes(content)


def overlapping():
    """Two directory entries that share one file, as in a quoted-overlap bomb."""
    content = bytearray(HONEST)
    directory = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", directory + 4)
    struct.pack_into("<I", content, second + 42, 0)
    return bytes(content)


def lying(offset, value):
    """The first local header with another 32-bit number at ``offset``."""
    content = bytearray(HONEST)
    struct.pack_into("<I", content, offset, value)
    return bytes(content)


def named(path):
    return zipped(lambda made: made.writestr(canonical(path), b"1"))


TRICKS = {
    "a path that leaves": (named("../../etc/passwd"), "is no path of an entry"),
    "an absolute path": (named("/etc/passwd"), "is no path of an entry"),
    "a path with a drive": (named("C:/a"), "is no path of an entry"),
    "a path with backslashes": (named("..\\a"), "is no path of an entry"),
    "a folder": (named("model/"), "is no path of an entry"),
    "a hidden file": (named(".bashrc"), "is no path of an entry"),
    "a path that is not ASCII": (named("ä.json"), "is no path of an entry"),
    "a deep path": (named("a/b/c"), "is no path of an entry"),
    "a path that hides its end": (named("a.json\x00.txt".replace("\x00", "\n")), "is no path of an entry"),
    "an entry twice": (zipped(twice), "holds a.json twice"),
    "a bomb": (zipped(bomb), "is compressed"),
    "another compression": (zipped(lzma), "is compressed"),
    "a symbolic link": (zipped(link), "a header, a checksum or the directory was changed"),
    "a comment": (zipped(commented), "a header, a checksum or the directory was changed"),
    "an encrypted entry": (encrypted(), "is encrypted"),
    "entries that overlap": (overlapping(), "a header, a checksum or the directory was changed"),
    "a size beyond the end": (lying(22, 2**32 - 1), "cut short inside contents.json"),
    "a smaller size": (lying(22, 1), "its bytes are not those"),
    "another uncompressed size": (lying(22, 0), "its bytes are not those"),
    "another checksum": (lying(14, 0), "its bytes are not those"),
    "trailing data": (HONEST + b"\0", "1 bytes follow its end"),
    "a second archive behind it": (HONEST + HONEST, "bytes follow its end"),
    "data in front": (b"#!/bin/sh\n" + HONEST, "not a bundle"),
    "nothing": (b"", "not a bundle"),
    "an empty archive": (zipped(lambda made: None), "not a bundle"),
    "no zip at all": (b"GIF89a" * 100, "not a bundle"),
    "a zip of today": (zipped(lambda made: made.writestr("a.json", b"1")), "its bytes are not those"),
    "cut in a header": (HONEST[:20], "cut short"),
    "cut in an entry": (HONEST[:44], "cut short inside contents.json"),
    "cut in the directory": (HONEST[:-30], "cut short"),
    "cut by one byte": (HONEST[:-1], "cut short"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_one_line_and_quick(trick):
    content, reason = TRICKS[trick]
    began = time.process_time()
    with pytest.raises(BundleError) as refusal:
        unpack(content, "b.zip")
    assert refusal.value.message.startswith("b.zip: ")
    assert reason in refusal.value.message
    assert "\n" not in refusal.value.message
    assert refusal.value.exit_code == 2
    assert time.process_time() - began < 2


def test_more_entries_than_any_bundle_has(monkeypatch):
    monkeypatch.setattr(archive, "MOST_ENTRIES", 2)
    with pytest.raises(BundleError, match="more than 2 entries"):
        unpack(HONEST, "b.zip")
    with pytest.raises(BundleError, match="at most 2 entries"):
        pack(ENTRIES)


def test_entries_too_large_are_not_packed(monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_BYTES", 100)
    with pytest.raises(BundleError, match="at most"):
        pack(ENTRIES)


@pytest.mark.parametrize("path", ["../a", "", "a b", "a" * 70])
def test_a_path_that_could_not_be_read_is_not_written(path):
    with pytest.raises(BundleError, match="no path"):
        pack({path: b""})


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_changed_byte_is_refused_or_changes_an_entry(data):
    content = bytearray(HONEST)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(content), "b.zip")
    except BundleError:
        return
    assert found != ENTRIES


def test_every_prefix_is_refused():
    for length in range(len(HONEST)):
        with pytest.raises(BundleError):
            unpack(HONEST[:length], "b.zip")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    for content in (noise, b"PK\x03\x04" + noise, HONEST[:30] + noise):
        with pytest.raises(BundleError):
            unpack(content, "b.zip")


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}/[A-Za-z0-9][A-Za-z0-9.-]{0,9}", fullmatch=True),
        st.binary(max_size=99),
        min_size=1,
    )
)
def test_whatever_is_packed_is_unpacked(entries):
    assert unpack(pack(entries), "it") == entries
