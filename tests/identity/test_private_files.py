import errno
import os
import stat
import tempfile

import pytest

from fedpriv.errors import IdentityError
from fedpriv.identity.private_files import read_private_file, write_private_file, write_private_folder


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request):
    previous = os.umask(request.param)
    yield
    os.umask(previous)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_open_what_was_written(tmp_path, umask):
    folder = tmp_path / "new" / "identity"
    write_private_folder(folder, {"one": b"1", "two": b"2"})
    assert mode(folder) == 0o700
    assert {path.name: (mode(path), path.read_bytes()) for path in folder.iterdir()} == {
        "one": (0o600, b"1"),
        "two": (0o600, b"2"),
    }
    assert read_private_file(folder / "one") == b"1"


def test_the_mode_is_given_at_creation_and_never_mended(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a private file must never need chmod")

    for name in ("chmod", "fchmod", "lchmod"):
        monkeypatch.setattr(os, name, refuse, raising=False)
    write_private_folder(tmp_path / "identity", {"key": b"secret"})
    assert mode(tmp_path / "identity" / "key") == 0o600


def test_a_folder_that_holds_something_is_never_overwritten(tmp_path):
    write_private_folder(tmp_path / "identity", {"key": b"old"})
    with pytest.raises(IdentityError, match="identity exists already") as error:
        write_private_folder(tmp_path / "identity", {"key": b"new"})
    assert "never overwritten" in error.value.hint
    assert (tmp_path / "identity" / "key").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["identity"]


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path):
    (tmp_path / "identity").write_text("mine")
    with pytest.raises(IdentityError, match="exists already"):
        write_private_folder(tmp_path / "identity", {"key": b"new"})
    assert (tmp_path / "identity").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match="file is a file, not a folder"):
        write_private_folder(tmp_path / "file" / "identity", {"key": b"x"})


def test_nothing_is_left_when_the_disk_is_full(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityError, match="cannot be written: No space left on device"):
        write_private_folder(tmp_path / "identity", {"key": b"x"})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_overwritten(tmp_path):
    write_private_file(tmp_path / "key", b"old")
    with pytest.raises(FileExistsError):
        write_private_file(tmp_path / "key", b"new")
    assert (tmp_path / "key").read_bytes() == b"old"


@pytest.mark.parametrize("opened", [0o640, 0o604, 0o660, 0o610, 0o644])
def test_a_file_that_others_can_open_is_refused_with_the_remedy(tmp_path, opened):
    write_private_folder(tmp_path / "identity", {"key": b"x"})
    path = tmp_path / "identity" / "key"
    path.chmod(opened)
    with pytest.raises(IdentityError, match=rf"key is open to other users \(mode {opened:o}\)") as error:
        read_private_file(path)
    assert f"chmod 600 {path}" in error.value.hint
    assert error.value.exit_code == 2


def test_a_folder_that_others_can_open_is_refused_with_the_remedy(tmp_path):
    write_private_folder(tmp_path / "identity", {"key": b"x"})
    (tmp_path / "identity").chmod(0o755)
    with pytest.raises(IdentityError, match=r"identity is open to other users \(mode 755\)") as error:
        read_private_file(tmp_path / "identity" / "key")
    assert f"chmod 700 {tmp_path / 'identity'}" in error.value.hint


def test_a_missing_file_is_reported_by_name(tmp_path):
    write_private_folder(tmp_path / "identity", {})
    with pytest.raises(IdentityError, match="key cannot be read: No such file"):
        read_private_file(tmp_path / "identity" / "key")


def test_a_disk_without_room_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(IdentityError, match="identity cannot be written: No space left on device"):
        write_private_folder(tmp_path / "identity", {"key": b"x"})
    assert list(tmp_path.iterdir()) == []
