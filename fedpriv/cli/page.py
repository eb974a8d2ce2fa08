"""``fedpriv page``: the doctor's page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json

if TYPE_CHECKING:
    from fedpriv.page.config import PageConfig

app = typer.Typer(help="Serve the doctor's page.", no_args_is_help=True)
user = typer.Typer(help="Manage who may log in.", no_args_is_help=True)
app.add_typer(user, name="user")

Home = Annotated[Path, typer.Option("--home", help="Where the page keeps its users and its key.")]
Database = Annotated[
    str | None,
    typer.Option(
        envvar="FEDPRIV_PAGE_DATABASE",
        help="URL of a PostgreSQL database, without a password.",
        show_default="SQLite in the home",
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        envvar="FEDPRIV_PAGE_CACHE",
        help="URL of a Redis cache, without a password.",
        show_default="in the database",
    ),
]
ModelPath = Annotated[Path, typer.Option("--model", metavar="MODEL", help="A run, or a model folder.")]
Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)]
Workers = Annotated[int, typer.Option(help="Processes, each with the model in memory.", min=1, max=64)]
HostNames = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="HOST", help="A name by which browsers reach it; repeat for more."),
]
Certificate = Annotated[
    Path | None, typer.Option("--cert", metavar="FILE", help="TLS certificate and chain, in PEM.")
]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key, in PEM.")]
BehindProxy = Annotated[
    bool, typer.Option("--behind-proxy", help="A proxy in front speaks TLS and sets X-Forwarded-Proto.")
]
Runs = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A coordinator's home, whose runs operators may look at.")
]
WithoutStatement = Annotated[
    bool,
    typer.Option(
        "--without-privacy-statement", help="Serve a model that claims no epsilon; the page says so."
    ),
]
PerMinute = Annotated[int, typer.Option(help="Images that one user may send a minute.", min=1)]
PerDay = Annotated[int, typer.Option(help="Images that one user may send a day.", min=1)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

HERE = Path("page")


@app.command(epilog=example("fedpriv page start --model out/run"))
def start(
    context: typer.Context,
    model: ModelPath,
    home: Home = HERE,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: HostNames = None,
    cert: Certificate = None,
    key: Key = None,
    behind_proxy: BehindProxy = False,
    workers: Workers = 1,
    images_per_minute: PerMinute = 60,
    images_per_day: PerDay = 1000,
    database: Database = None,
    cache: Cache = None,
    runs: Runs = None,
    without_privacy_statement: WithoutStatement = False,
) -> None:
    """Serve the page until Ctrl-C.

    On loopback it speaks HTTP. For others to reach it, give a certificate, or put a proxy in front.
    """
    from fedpriv.cli.page_runs import runs_in
    from fedpriv.model.model_card import read_model_card
    from fedpriv.page import config, server

    _refuse_passwords(context)
    source = None if runs is None else runs_in(runs.resolve())
    listen = server.Listen(host, port, workers, cert, key)
    server.check_listen(listen, behind_proxy=behind_proxy)
    folder, card = config.load_card(model, without_privacy_statement=without_privacy_statement)
    page = config.PageConfig(
        home=home.resolve(),
        model=folder.resolve(),
        card=card,
        model_card=read_model_card(folder, card),
        runs=source,
        names=tuple(name or ()),
        tls=cert is not None or behind_proxy,
        behind_proxy=behind_proxy,
        database=database,
        cache=cache,
        limits=config.Limits(images_per_minute, images_per_day),
    )
    scheme = "http" if cert is None else "https"
    if page.tls and not page.names:
        typer.echo("only localhost may be its name: --name adds the one by which browsers reach it", err=True)
    server.serve(
        page, listen, lambda: typer.echo(f"the page is at {scheme}://{listen.address}, Ctrl-C ends it")
    )


@app.command(epilog=example("fedpriv page check --behind-proxy --name smears.hospital.example"))
def check(
    context: typer.Context,
    home: Home = HERE,
    name: HostNames = None,
    cert: Certificate = None,
    behind_proxy: BehindProxy = False,
    database: Database = None,
    cache: Cache = None,
) -> None:
    """Check the settings that `start` would use.

    These are the checks for deployment of the framework that the page is made with.
    """
    from fedpriv.page import config, server

    _refuse_passwords(context)
    page = config.PageConfig(
        home=home.resolve(),
        names=tuple(name or ()),
        tls=cert is not None or behind_proxy,
        behind_proxy=behind_proxy,
        database=database,
        cache=cache,
    )
    _open(page)
    found = server.findings()
    for finding in found:
        typer.echo(finding, err=True)
    if found:
        raise typer.Exit(1)
    typer.echo("nothing found")


@app.command(epilog=example("fedpriv page status --tls"))
def status(
    port: Port = 8000,
    tls: Annotated[bool, typer.Option("--tls", help="It was started with a certificate.")] = False,
) -> None:
    """Ask the page on this machine whether it answers.

    Exit code 0 if it does. It has to listen on loopback, as it does with --host 0.0.0.0.
    """
    from fedpriv.page.health import check

    check(port, tls=tls)
    typer.echo("the page answers")


@user.command(epilog=example("fedpriv page user add ana"))
def add(
    context: typer.Context,
    name: Name,
    home: Home = HERE,
    operator: Annotated[
        bool, typer.Option("--operator", help="Let the user see runs, cohorts and epsilon.")
    ] = False,
    database: Database = None,
) -> None:
    """Add a user, who logs in with a password.

    It is asked for on a terminal; otherwise it is the first line of standard input.
    """
    from fedpriv.page import users

    _refuse_passwords(context)
    _open_home(home, database)
    users.add_user(name, _ask_password(), operator=operator)


@user.command("list", epilog=example("fedpriv page user list --json"))
def list_users(
    context: typer.Context, home: Home = HERE, database: Database = None, as_json: AsJson = False
) -> None:
    """List the users."""
    from fedpriv.page import users

    _refuse_passwords(context)
    _open_home(home, database)
    found = users.all_users()
    if as_json:
        echo_json(found)
        return
    for one in found:
        typer.echo(f"{one.name}{'  operator' if one.operator else ''}")


@user.command(epilog=example("fedpriv page user remove ana"))
def remove(context: typer.Context, name: Name, home: Home = HERE, database: Database = None) -> None:
    """Remove a user, whose sessions end at once."""
    from fedpriv.page import users

    _refuse_passwords(context)
    _open_home(home, database)
    users.find_user(name).delete()


@user.command(epilog=example("fedpriv page user password ana"))
def password(context: typer.Context, name: Name, home: Home = HERE, database: Database = None) -> None:
    """Change a password; the user's sessions end at once."""
    from fedpriv.page import users

    _refuse_passwords(context)
    _open_home(home, database)
    users.find_user(name)
    users.change_password(name, _ask_password())


def _open_home(home: Path, database: str | None) -> None:
    from fedpriv.page import config

    _open(config.PageConfig(home=home.resolve(), database=database))


def _open(page: PageConfig) -> None:
    """Set Django up on the page's home, with its tables."""
    from fedpriv.page import server, settings

    settings.set_up(page)
    server.prepare_tables()


def _refuse_passwords(context: typer.Context) -> None:
    """Refuse a URL with a password on the command line, which every user of the machine can read."""
    from urllib.parse import urlsplit

    import click

    from fedpriv.errors import InputError

    for option in ("database", "cache"):
        url = context.params.get(option)
        typed = context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
        if url is not None and typed and urlsplit(url).password is not None:
            raise InputError(
                f"--{option}: a password on the command line can be read by everybody on this machine",
                hint=f"set FEDPRIV_PAGE_{option.upper()} to the URL instead",
            )


def _ask_password() -> str:
    """Ask twice on a terminal; otherwise take the first line of standard input."""
    if sys.stdin.isatty():
        asked: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
        return asked
    return sys.stdin.readline().rstrip("\r\n")
