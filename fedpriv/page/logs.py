"""Logs that cannot hold what a visitor sent.

An exception's message, a path or a header may hold a file's name or worse. So a line has the time, the
level, who speaks and where in the code, the message without its values, for an exception its type and its
frames. Only the page's own messages are printed as they are.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from gunicorn.glogging import Logger

if TYPE_CHECKING:
    from gunicorn.config import Config

_OURS = "fedpriv.page"
_HANDLER = "terminal"


class ValuesLeftOut(logging.Formatter):
    """One line a record, and below it the frames of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without the message, unless the message is ours."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{stamp} {record.levelname.lower()} {record.name}"
        if record.name == _OURS:
            line += f": {record.getMessage()}"
        else:
            line += f" in {Path(record.pathname).name}:{record.lineno}"
            line += f": {record.msg}" if record.args else ""  # with %s where values would stand
            status = getattr(record, "status_code", None)
            line += f", status {status}" if isinstance(status, int) else ""
        if record.exc_info and record.exc_info[0] is not None:
            line += f": {record.exc_info[0].__name__}"
            for frame in traceback.extract_tb(record.exc_info[2]):
                line += f"\n  {frame.filename}:{frame.lineno} in {frame.name}"
        return line


class ServerLogger(Logger):
    """gunicorn's messages go the way of all others; it keeps no list of requests."""

    def setup(self, cfg: Config) -> None:
        """Do not open handlers of its own."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.setLevel(logging.WARNING)

    def exception(self, msg: object, *args: object, **_kwargs: object) -> None:
        """Do not report clients that fell silent; that is no exception, and they could fill the disk."""
        if not isinstance(sys.exc_info()[1], TimeoutError | BlockingIOError):
            super().exception(msg, *args)

    def access(self, *_arguments: object) -> None:
        """Nothing is written of a request."""


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"values_left_out": {"()": ValuesLeftOut}},
    "handlers": {
        _HANDLER: {"class": "logging.StreamHandler", "formatter": "values_left_out", "stream": sys.stderr}
    },
    "root": {"handlers": [_HANDLER], "level": "WARNING"},
    "loggers": {"django": {"level": "ERROR"}, _OURS: {"level": "INFO"}},
}
