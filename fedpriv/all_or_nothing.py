"""What a command makes is there as a whole, or not at all."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def all_or_nothing(*paths: Path) -> Iterator[None]:
    """Make files or folders at ``paths`` inside; if that fails, what was not there before is removed.

    Folders above them that had to be made go, too. Whatever was there before stays as it is.
    """
    made = [top for path in paths if (top := _topmost_missing(path)) is not None]
    try:
        yield
    except BaseException:
        for path in made:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):  # it was never made, or stands below a file
                    path.unlink()
        raise


def _topmost_missing(path: Path) -> Path | None:
    """The first part of ``path`` that does not exist, or None if all of it does."""
    missing = [part for part in (path, *path.parents) if not part.exists() and not part.is_symlink()]
    return missing[-1] if missing else None
