"""How both doctors print what they find, a line each, and what their exit code is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fedpriv.cli.json_output import echo_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fedpriv.diagnosis import Diagnosis


def tell(diagnoses: Iterable[Diagnosis], *, as_json: bool) -> None:
    """Print each diagnosis as soon as it is known, or all as JSON; Refused if one fails."""
    from fedpriv.diagnosis import Health
    from fedpriv.errors import Refused

    found = []
    for diagnosis in diagnoses:
        found.append(diagnosis)
        if not as_json:
            typer.echo(f"{diagnosis.health:<5} {diagnosis.subject:<16} {diagnosis.found}")
            if diagnosis.fix:
                typer.echo(f"{'':<5} {'':<16} -> {diagnosis.fix}")
    if as_json:
        echo_json(found)
    failed = [diagnosis.subject for diagnosis in found if diagnosis.health is Health.FAIL]
    if failed:
        raise Refused(f"{len(failed)} of {len(found)} checks fail: {', '.join(failed)}")
