"""How commands that stay keep their log, and how they end in it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedpriv.logs import Log

LogJson = Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line, for machines.")]


@contextlib.contextmanager
def logged(*, as_json: bool, on_terminal: bool = True) -> Iterator[Log]:
    """Keep a log inside (see `fedpriv.logs.kept`). An error that ends the command is in it, too.

    As JSON it is said there alone: the command then ends with the exit code of the error and no other word.
    """
    from fedpriv import logs
    from fedpriv.cli.outcome import FAILED, Outcome, Told, outcome_of

    with logs.kept(as_json=as_json, on_terminal=on_terminal) as log:
        try:
            yield log
        except typer.Exit:
            raise
        except BaseException as error:
            outcome = outcome_of(error) or Outcome(f"a bug: {logs.in_short(error)}", None, FAILED)
            logs.failed(outcome.message, outcome.hint)
            if as_json:
                raise Told(outcome.exit_code) from error
            raise
