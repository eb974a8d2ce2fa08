"""What an error means to whoever typed the command: one line, perhaps a hint, and an exit code.

Exit codes: 0 done; 1 the answer is no (refused, failed, not verified); 2 the input is wrong;
130 interrupted.
"""

from __future__ import annotations

from typing import NamedTuple

import click

from fedpriv.errors import FedprivError

FAILED = 1
USAGE = 2
INTERRUPTED = 130


class Outcome(NamedTuple):
    """How a command ended that did not do its work."""

    message: str
    hint: str | None
    exit_code: int


class Told(Exception):
    """The command has ended with ``exit_code``, and why was said already."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def outcome_of(error: BaseException) -> Outcome | None:
    """What to tell of ``error``; None if it is a bug."""
    match error:
        case FedprivError():
            return Outcome(error.message, error.hint, error.exit_code)
        case click.Abort() | KeyboardInterrupt():
            return Outcome("interrupted", None, INTERRUPTED)
        case OSError():
            return Outcome(_of_the_system(error), "is the folder yours, and the disk not full?", FAILED)
    return None


def _of_the_system(error: OSError) -> str:
    """What the operating system refused, and where."""
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason
