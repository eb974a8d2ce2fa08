"""Files that only their owner can read, from the moment they exist.

The mode is given when the file is created, so there is no instant at which a key lies readable; nothing is
ever repaired with chmod. Reading refuses a file that others can read: its secret may be known already.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fedpriv.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER_MODE = 0o700
FILE_MODE = 0o600

_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def write_private_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Create ``folder`` (0700) holding ``files`` (0600): all of it, or nothing.

    The files are written to a hidden folder beside it, which is then renamed: rename(2) refuses a target
    that holds anything, so nothing is ever overwritten, not even in a race. Raises IdentityError.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except FileExistsError as error:
        raise IdentityError(f"{folder.parent} is a file, not a folder", hint="name a folder") from error
    except OSError as error:
        raise IdentityError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        for name, content in files.items():
            write_private_file(draft / name, content)
        draft.rename(folder)
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise IdentityError(f"{folder} cannot be written: {error.strerror}") from error
        raise IdentityError(
            f"{folder} exists already",
            hint="keys are never overwritten; choose another folder, or move this one away",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_private_file(path: Path, content: bytes) -> None:
    """Create the file ``path`` (0600) and sync it to disk; FileExistsError if there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_private_folder(folder: Path, following: Path) -> None:
    """Put ``following`` in the place of ``folder``, whose content is deleted. IdentityError if it cannot.

    A crash in between leaves no ``folder`` and the whole of ``following``; then it can be repeated.
    """
    gone = folder.with_name(f".{folder.name}.gone")
    try:
        shutil.rmtree(gone, ignore_errors=True)
        if folder.exists():
            folder.rename(gone)
        following.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(gone, ignore_errors=True)
    except OSError as error:
        raise IdentityError(f"{folder} cannot be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on the disk: a file that was made or renamed there survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private_file(path: Path) -> bytes:
    """The content of ``path``, provided that neither it nor its folder is open to group or others."""
    try:
        _refuse_open_to_others(path.parent, path.parent.stat().st_mode, FOLDER_MODE)
        with path.open("rb") as file:
            _refuse_open_to_others(path, os.fstat(file.fileno()).st_mode, FILE_MODE)
            return file.read()
    except OSError as error:
        raise IdentityError(
            f"{path} cannot be read: {error.strerror}",
            hint="name the right --home, restore the file, or make new keys",
        ) from error


def _refuse_open_to_others(path: Path, mode: int, wanted: int) -> None:
    if mode & _OTHERS:
        raise IdentityError(
            f"{path} is open to other users (mode {stat.S_IMODE(mode):o})",
            hint=f"run `chmod {wanted:o} {path}`; if others use this machine, make new keys instead",
        )
