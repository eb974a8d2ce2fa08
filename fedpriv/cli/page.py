"""``fedpriv page``: the doctor's page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json

app = typer.Typer(help="Serve the doctor's page.", no_args_is_help=True)
user = typer.Typer(help="Manage who may log in.", no_args_is_help=True)
app.add_typer(user, name="user")

Home = Annotated[Path, typer.Option("--home", help="Where the page keeps users and its secret key.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]

HERE = Path("page")


@app.command(epilog=example("fedpriv page start --model out/run"))
def start(
    model: Annotated[Path, typer.Option(metavar="MODEL", help="A run, or a model folder.")],
    home: Home = HERE,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes, each with the model in memory.", min=1)] = 1,
    without_privacy_statement: Annotated[
        bool, typer.Option(help="Serve a model that claims no epsilon; the page says so.")
    ] = False,
) -> None:
    """Serve the page until Ctrl-C."""
    from fedpriv.page import config, server

    config.open_home(home)
    folder, card = config.load_card(model, without_privacy_statement=without_privacy_statement)
    typer.echo(f"the page is at http://{host}:{port}, Ctrl-C ends it")
    page = config.PageConfig(home=home.resolve(), model=folder.resolve(), card=card)
    server.serve(page, server.Listen(host, port, workers))


@user.command(epilog=example("fedpriv page user add ana"))
def add(
    name: Name,
    home: Home = HERE,
    staff: Annotated[bool, typer.Option("--staff", help="Let the user see the operator's view.")] = False,
) -> None:
    """Add a user; the password is asked for, or read from standard input."""
    from fedpriv.page import users

    _open(home)
    users.add_user(name, _ask_password(), staff=staff)


@user.command("list", epilog=example("fedpriv page user list"))
def list_users(
    home: Home = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List the users."""
    _open(home)
    from django.contrib.auth.models import User

    found = [{"name": user.username, "staff": user.is_staff} for user in User.objects.order_by("username")]
    if as_json:
        echo_json(found)
        return
    for row in found:
        typer.echo(f"{row['name']}{'  staff' if row['staff'] else ''}")


@user.command(epilog=example("fedpriv page user remove ana"))
def remove(name: Name, home: Home = HERE) -> None:
    """Remove a user, whose sessions end at once."""
    from fedpriv.page import users

    _open(home)
    users.find_user(name).delete()


@user.command(epilog=example("fedpriv page user password ana"))
def password(name: Name, home: Home = HERE) -> None:
    """Change a password; the user's sessions end at once."""
    from fedpriv.page import users

    _open(home)
    users.find_user(name)
    users.change_password(name, _ask_password())


def _open(home: Path) -> None:
    """Set Django up on the page's home, with its tables."""
    from fedpriv.page import config, server, settings

    config.open_home(home)
    settings.set_up(config.PageConfig(home=home.resolve()))
    server.prepare_tables()


def _ask_password() -> str:
    """Ask twice on a terminal; otherwise take the first line of standard input."""
    if sys.stdin.isatty():
        asked: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
        return asked
    return sys.stdin.readline().rstrip("\r\n")
