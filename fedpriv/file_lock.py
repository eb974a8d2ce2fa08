"""One process at a time: a lock on a file, which the system takes back when its holder dies."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from fedpriv.errors import HomeError

if TYPE_CHECKING:
    from pathlib import Path


def acquire(path: Path, busy: HomeError) -> int:
    """Lock ``path`` (made with mode 0600) and give its descriptor; closing that unlocks.

    Raises ``busy`` if another process holds it, HomeError if it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise busy from error
    return descriptor
