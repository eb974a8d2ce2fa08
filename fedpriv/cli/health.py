"""``--healthy``: what a container's or a monitor's check asks of a process that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.json_output import echo_json

if TYPE_CHECKING:
    from pathlib import Path

Healthy = Annotated[bool, typer.Option("--healthy", help="Only ask the running process whether all is well.")]


def tell_health(path: Path, who: str, *, as_json: bool) -> None:
    """Print how the process behind the pulse in ``path`` is; Refused, so exit code 1, if it is not well."""
    from fedpriv.pulse import check

    pulse = check(path, who)
    if as_json:
        echo_json(pulse)
    else:
        typer.echo(f"{who} is well: {pulse.says}")
