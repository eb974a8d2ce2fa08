"""``fedpriv keys``: the enrolment ceremony, from an identity to a roster that everybody pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json

app = typer.Typer(help="Identities, and the roster of who is in the federation.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", help="A home folder.", show_default="here")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command(epilog=example("fedpriv keys new charite --home hospital"))
def new(
    name: Annotated[str, typer.Argument(help="The hospital's name: letters, digits and hyphens.")],
    home: Home = Path(),
) -> None:
    """Make a hospital's keys, and the request file for the operator."""
    from fedpriv.identity import enrolment

    request = enrolment.make_identity(name, home)
    typer.echo(f"private keys in {home / 'identity'}: they never leave this machine")
    typer.echo(
        f"send {enrolment.request_path(name, home)} to the operator, and read these digits over the phone:"
    )
    typer.echo(f"  {request.fingerprint}")


@app.command(epilog=example("fedpriv keys show --home hospital"))
def show(home: Home = Path(), as_json: AsJson = False) -> None:
    """Show whose keys these are, and the digits to read over the phone.

    No secret is shown.
    """
    from fedpriv.identity import keys
    from fedpriv.identity.fingerprint import key_fingerprint

    identity = keys.load(home / "identity")
    fingerprint = key_fingerprint(identity.signing_public_key)
    if as_json:
        echo_json(
            {
                "name": identity.name,
                "fingerprint": fingerprint,
                "signing_key": identity.signing_public_key.hex(),
                "link_key": identity.link_public_key.decode("ascii"),
            }
        )
        return
    typer.echo(f"{identity.name}  {fingerprint}")


@app.command(epilog=example("fedpriv keys enrol *.request.toml --federation leukaemia --home coordinator"))
def enrol(
    requests: Annotated[list[Path], typer.Argument(help="The hospitals' request files.")],
    federation: Annotated[str, typer.Option(help="The federation's name.")],
    home: Annotated[
        Path, typer.Option("--home", help="The coordinator's home.", show_default="here")
    ] = Path(),
) -> None:
    """As the operator: collect the hospitals' requests into the roster."""
    from fedpriv.coordinator.home import open_home
    from fedpriv.errors import IdentityError
    from fedpriv.identity import enrolment
    from fedpriv.identity.roster import dump_roster
    from fedpriv.toml_files import write_new_file

    coordinator = open_home(home)
    received = [enrolment.load_request(path) for path in requests]
    roster = enrolment.collect(federation, coordinator.operator(), received)
    write_new_file(coordinator.roster_path, dump_roster(roster), IdentityError)
    typer.echo("each hospital must have read you these digits over the phone:")
    for request in received:
        typer.echo(f"  {request.member.name}  {request.fingerprint}")
    typer.echo(f"if so, send {coordinator.roster_path} to every hospital; its own digits are:")
    typer.echo(f"  {roster.fingerprint}")


@app.command(epilog=example("fedpriv keys roster roster.toml --pin --home hospital"))
def roster(
    file: Annotated[Path, typer.Argument(help="The roster file.")] = Path("roster.toml"),
    pin: Annotated[bool, typer.Option("--pin", help="Compare the digits, then keep the roster.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --pin: the digits were compared already.")] = False,
    home: Home = Path(),
    as_json: AsJson = False,
) -> None:
    """Show who is in a roster; with --pin, trust it from now on.

    All hospitals compare the digits in the first line over the phone before they pin it.
    """
    from fedpriv.identity.fingerprint import key_fingerprint
    from fedpriv.identity.roster import load_roster

    found = load_roster(file)
    members = {member.name: key_fingerprint(member.signing_key) for member in found.hospitals}
    if as_json:
        echo_json(
            {
                "federation": found.federation,
                "fingerprint": found.fingerprint,
                "digest": found.digest.hex(),
                "coordinator": found.coordinator.name,
                "hospitals": members,
            }
        )
    else:
        typer.echo(f"{found.federation}  {found.fingerprint}")
        typer.echo(f"  coordinator {found.coordinator.name}")
        for name, fingerprint in members.items():
            typer.echo(f"  {name}  {fingerprint}")
    if pin:
        if not yes:
            typer.confirm("do all hospitals read the same digits in the first line?", abort=True)
        _pin(file, home)


def _pin(file: Path, home: Path) -> None:
    from fedpriv.errors import IdentityError
    from fedpriv.identity import keys
    from fedpriv.identity.roster import dump_roster, load_roster
    from fedpriv.toml_files import write_new_file

    identity, roster = keys.load(home / "identity"), load_roster(file)
    if roster.member(identity.name).signing_key != identity.signing_public_key:
        raise IdentityError(
            f"{file} has another key for {identity.name} than {home / 'identity'}",
            hint="somebody changed your request: do not pin it, call the operator",
        )
    write_new_file(home / "roster.toml", dump_roster(roster), IdentityError)
    typer.echo(f"pinned in {home / 'roster.toml'}", err=True)
