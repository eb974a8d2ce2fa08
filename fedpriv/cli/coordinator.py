"""``fedpriv coordinator``: the operator's side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.health import Healthy, tell_health
from fedpriv.cli.logged import LogJson, logged

if TYPE_CHECKING:
    from fedpriv.coordinator.run_folder import RunFolder
    from fedpriv.identity.roster import Roster

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
        home,
        name=name,
        hosts=hosts,
        listen=homes.neighbours(listen),
        deadlines=homes.Deadlines(),
        metrics=homes.metrics_beside(listen),
    )
    typer.echo(f"coordinator {name} in {made.folder.resolve()}, certificate for {', '.join(hosts)}")
    typer.echo("next: fedpriv keys enrol REQUEST... makes the roster")


@app.command(epilog=example("fedpriv coordinator start --home consortium"))
def start(home: Home = Path(), log_json: LogJson = False) -> None:
    """Let hospitals connect, until Ctrl-C.

    Rounds are run by `fedpriv round` meanwhile, in another terminal.
    """
    with logged(as_json=log_json) as log:
        from fedpriv.coordinator.door import keep_open
        from fedpriv.coordinator.home import open_home

        keep_open(open_home(home), log)


@app.command(epilog=example("fedpriv coordinator status --json"))
def status(home: Home = Path(), as_json: AsJson = False, healthy: Healthy = False) -> None:
    """Show whether it is open, which hospitals are online, and the runs.

    --healthy asks `coordinator start` alone: exit code 0 if hospitals can connect.
    """
    from fedpriv.cli.json_output import echo_json
    from fedpriv.coordinator.home import open_home

    if healthy:
        tell_health(open_home(home).pulse_path, "the coordinator", as_json=as_json)
        return
    from fedpriv.coordinator import service

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


@app.command(epilog=example("fedpriv coordinator bundle --journal A.journal.json --journal B.journal.json"))
def bundle(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="The run's name.", show_default="the last one")
    ] = None,
    journal: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What a hospital wrote by `fedpriv node export`; repeat for more."),
    ] = None,
    home: Home = Path(),
) -> None:
    """Write the bundle of a run, for its auditors.

    `fedpriv round` writes one without journals. This replaces it by one with those that hospitals sent.
    """
    from fedpriv.coordinator import service
    from fedpriv.coordinator.bundle import write_bundle
    from fedpriv.coordinator.home import open_home
    from fedpriv.coordinator.rounds import publish

    coordinator = open_home(home)
    chosen = service.choose_run(coordinator, study_path=None, name=run)
    roster = coordinator.roster()
    journals = _exports(journal or [], roster, chosen)
    with coordinator.one_command():
        publish(chosen)  # a crash may have left a card that knows too few rounds
        path = write_bundle(chosen, roster, coordinator.identity(), journals)
    absent = [name for name in chosen.study.names if name not in journals]
    typer.echo(f"{path}, with {len(journals)} of {len(chosen.study.names)} journals")
    if absent:
        typer.echo(f"not shown without the journals of {', '.join(absent)}: what they charged")


def _exports(paths: list[Path], roster: Roster, run: RunFolder) -> dict[str, bytes]:
    """The content of each file by its hospital; an error names the file that is none of this run."""
    from fedpriv.errors import HomeError, JournalCorrupt
    from fedpriv.node.export import open_export, parse_export

    found: dict[str, bytes] = {}
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise HomeError(f"{path} cannot be read: {(error.strerror or '').lower()}") from error
        export = parse_export(content, str(path))
        key = roster.member(export.hospital).signing_key
        try:
            open_export(export, key)
        except JournalCorrupt as error:
            raise HomeError(f"{path}: {error.message}", hint=f"ask {export.hospital} for it again") from error
        if export.run != run.run:
            raise HomeError(
                f"{path}: exported for the run {export.run.hex()}, not for {run.folder.name}",
                hint=f"{export.hospital} runs `fedpriv node export {run.folder.name}`",
            )
        if export.hospital in found:
            raise HomeError(f"{path}: a second export of {export.hospital}", hint="give one a hospital")
        found[export.hospital] = content
    return found
