"""``fedpriv coordinator``: the operator's side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedpriv.cli.examples import example

app = typer.Typer(help="Run the coordinator of a federation.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", help="The coordinator's home folder.", show_default="here")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command(epilog=example("fedpriv coordinator init --name consortium --host fed.example.org"))
def init(
    home: Home = Path(),
    name: Annotated[str, typer.Option(help="The coordinator's name in the roster.")] = "coordinator",
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or IP address by which hospitals reach it; repeat for more."),
    ] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT for the hospitals.")] = "0.0.0.0:9092",
) -> None:
    """Make a home: fresh keys, a TLS certificate and coordinator.toml."""
    from fedpriv.coordinator import home as homes

    hosts = tuple(host or ["localhost", homes.LOOPBACK])
    made = homes.init_home(
        home, name=name, hosts=hosts, listen=homes.neighbours(listen), deadlines=homes.Deadlines()
    )
    typer.echo(f"coordinator {name} in {made.folder.resolve()}, certificate for {', '.join(hosts)}")
    typer.echo("next: fedpriv keys enrol REQUEST... makes the roster")


@app.command(epilog=example("fedpriv coordinator start --home consortium"))
def start(home: Home = Path()) -> None:
    """Let hospitals connect, until Ctrl-C.

    Rounds are run by `fedpriv round` meanwhile, in another terminal.
    """
    from fedpriv.coordinator import service
    from fedpriv.coordinator.home import open_home

    service.keep_open(open_home(home), say=typer.echo)


@app.command(epilog=example("fedpriv coordinator status --json"))
def status(home: Home = Path(), as_json: AsJson = False) -> None:
    """Show whether it is open, which hospitals are online, and the runs."""
    from fedpriv.cli.json_output import echo_json
    from fedpriv.coordinator import service
    from fedpriv.coordinator.home import open_home

    found = service.status(open_home(home))
    if as_json:
        echo_json(found)
        return
    if found.online is None:
        typer.echo(f"{found.address} is closed; `fedpriv coordinator start` opens it")
    else:
        typer.echo(f"{found.address} is open")
        for name, online in found.online.items():
            typer.echo(f"  {name}  {'online' if online else 'offline'}")
    for run in found.runs:
        failed = f", {run.failed} failed" if run.failed else ""
        typer.echo(f"run {run.name}: {run.study}, {run.completed} of {run.planned} rounds complete{failed}")
