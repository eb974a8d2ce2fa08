"""The one way in which commands that stay say what happens: a line on stderr, and one in a file.

An *event* is a log record with a name and, where known, whom it is about: see `About`, a closed list, so that
nothing else can become a field. As text, stderr has one line for each event, as people read it, and the file
has also what libraries warn of. As JSON both have everything, one object a line.

The file takes at most 1 MB, and five older ones are kept. Only its owner may read it.

No record quotes an exception: its words may hold a value, so its type and where it was raised must do. Signs
that would move a terminal's cursor, or begin a line that nobody wrote, are escaped.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import TextIOWrapper
    from types import FrameType, TracebackType

FILE_BYTES, OLD_FILES = 1_000_000, 5
LONGEST_MESSAGE = 2_000
"""Characters of one record; what comes from outside must not fill a file with one line."""

FAILED = "failed"

_log = logging.getLogger(__name__)


class About(TypedDict, total=False):
    """What an event is about. ``run`` is hex; ``bytes_*`` are of whole messages, ``seconds`` wall time."""

    run: str
    round: int
    hospital: str
    stage: str
    code: str
    hint: str
    seconds: float
    bytes_sent: int
    bytes_received: int


def event(
    log: logging.Logger, name: str, message: str, *, level: int = logging.INFO, **about: Unpack[About]
) -> None:
    """Log the event ``name`` (snake_case); ``message`` is what people read."""
    log.log(level, "%s", message, extra={"event": name, "about": about})


class Log:
    """Where records go while `kept`; ``hospital`` is whom they are about where they name nobody else."""

    def __init__(self, *, as_json: bool) -> None:
        self.hospital: str | None = None
        self._as_json = as_json

    def on_terminal(self) -> logging.Handler:
        """A handler for stderr."""
        handler = logging.StreamHandler()
        handler.setFormatter(_Json(self) if self._as_json else _Spoken(self))
        if not self._as_json:
            handler.addFilter(_is_spoken)
        return handler

    def keep_in(self, path: Path) -> None:
        """Keep records in the file ``path`` as well, from now on; OSError if it cannot be written."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handler = RotatingPrivateFile(path)
        handler.setFormatter(_Json(self) if self._as_json else _Filed())
        logging.getLogger().addHandler(handler)


@contextlib.contextmanager
def kept(*, as_json: bool, on_terminal: bool = True) -> Iterator[Log]:
    """Log to stderr inside, as text or as JSON; at the end logging is as it was before.

    Without ``on_terminal`` text stays off stderr, for a command that draws there itself.
    """
    log, root, ours = Log(as_json=as_json), logging.getLogger(), logging.getLogger("fedpriv")
    before = root.level, list(root.handlers), logging.raiseExceptions
    before_of_ours = ours.level
    hook = threading.excepthook
    if as_json or on_terminal:
        root.addHandler(log.on_terminal())
    if as_json:
        threading.excepthook = _thread_crashed
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.INFO)
    logging.raiseExceptions = False  # a full disk must not become a traceback for every line
    logging.captureWarnings(capture=True)
    try:
        yield log
    finally:
        logging.captureWarnings(capture=False)
        threading.excepthook = hook
        for added in root.handlers[len(before[1]) :]:
            with contextlib.suppress(OSError):  # what a full disk did not take
                added.close()
        root.level, root.handlers, logging.raiseExceptions = before
        ours.setLevel(before_of_ours)


def failed(message: str, hint: str | None) -> None:
    """Log why the command ends. As text, stderr hears it from the command line itself."""
    about: About = {"hint": hint} if hint else {}
    event(_log, FAILED, message, level=logging.ERROR, **about)


class RotatingPrivateFile(logging.handlers.RotatingFileHandler):
    """A file of mode 0600 that becomes ``NAME.1`` when it is full; six of them at most."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8")


class _Json(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, event, whom it is about, and the message."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as JSON; one that is no event has the name of its logger instead."""
        name = getattr(record, "event", None)
        line = {"time": _time_of(record), "level": record.levelname.lower(), "event": name or "log"}
        if name is None:
            line["logger"] = record.name
        if self._log.hospital is not None:
            line["hospital"] = self._log.hospital
        line |= getattr(record, "about", {})
        return msgspec.json.encode(line | {"message": _words_of(record)}).decode()


class _Spoken(logging.Formatter):
    """What people read on the terminal."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        words = _on_one_line(_words_of(record))
        return words if self._log.hospital is None else f"{self._log.hospital}: {words}"


class _Filed(logging.Formatter):
    """What an admin finds in the file."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time_of(record)} {record.levelname} {record.name} {_on_one_line(_words_of(record))}"


def in_short(error: BaseException) -> str:
    """The type of ``error`` and the places that it passed, innermost first; none of its words."""
    places = [
        f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in _frames(error.__traceback__)
    ]
    return f"{type(error).__name__} in {', '.join(reversed(places))}" if places else type(error).__name__


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _words_of(record: logging.LogRecord) -> str:
    words = record.getMessage()[:LONGEST_MESSAGE]
    error = record.exc_info[1] if record.exc_info else None
    return f"{words}: {in_short(error)}" if error else words


def _on_one_line(words: str) -> str:
    if words.isprintable():
        return words
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in words)


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_spoken(record: logging.LogRecord) -> bool:
    return getattr(record, "event", FAILED) != FAILED


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None:
        event(_log, "thread_crashed", in_short(crash.exc_value), level=logging.ERROR)
