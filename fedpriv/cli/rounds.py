"""``fedpriv round``: the operator runs rounds of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedpriv.cli.logged import LogJson, logged


def run_rounds(
    home: Annotated[
        Path, typer.Option("--home", help="The coordinator's home.", show_default="here")
    ] = Path(),
    study: Annotated[
        Path | None, typer.Option(help="Begin a run of this study file.", show_default="the last run goes on")
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with this run.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many rounds to attempt.", show_default="all that are left")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    log_json: LogJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")] = False,
) -> None:
    """Run rounds of a study, as the operator.

    In each round hospitals train, their masked sum is opened and the model moves. Exit code 0 if every
    round was complete, 1 if one failed. A failed round is recorded and its cost counts. After three
    failures in a row no more are tried. The last words say whose images are in which round.
    """
    from fedpriv.cli.final_word import all_complete, contribution_lines, first_line
    from fedpriv.cli.json_output import echo_json
    from fedpriv.cli.round_view import RoundView, claim_lines, summary_of, time_line
    from fedpriv.coordinator import service
    from fedpriv.coordinator.home import open_home
    from fedpriv.coordinator.rounds import claim_of
    from fedpriv.coordinator.run_folder import BUNDLE_FILE

    with logged(as_json=log_json, on_terminal=False) as log:
        coordinator = open_home(home)
        run = service.choose_run(coordinator, study_path=study, name=resume)
        log.keep_in(coordinator.logs_folder / "rounds.log")
        with RoundView(quiet=quiet or as_json or log_json) as view:
            ended = service.run_rounds(coordinator, run, count=count, observe=view.show)
    if as_json:
        echo_json(summary_of(run, ended))
    else:
        typer.echo(first_line(run, ended))
        for line in contribution_lines(run):
            typer.echo(line)
        typer.echo(f"run {run.folder}")
        for line in claim_lines(claim_of(run)):
            typer.echo(line)
        typer.echo(time_line(run))
        typer.echo(
            f"for auditors: {run.folder / BUNDLE_FILE}; `fedpriv coordinator bundle` adds journals to it"
        )
    if not all_complete(ended):
        raise typer.Exit(1)
