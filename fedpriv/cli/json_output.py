"""How ``--json`` prints, the same for every command."""

from __future__ import annotations

import typer


def echo_json(value: object) -> None:
    """Print dictionaries, lists, dataclasses and Structs as JSON; an infinite number becomes null."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
