"""``fedpriv keys``: the enrolment ceremony, from an identity to a roster that everybody pinned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json

if TYPE_CHECKING:
    from fedpriv.identity.roster import Roster

app = typer.Typer(help="Identities, and the roster of who is in the federation.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", help="A home folder.", show_default="here")]
CoordinatorHome = Annotated[Path, typer.Option("--home", help="The coordinator's home.", show_default="here")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", help="The fingerprints were compared already: do not ask.")]
ReadToYou = Annotated[
    str | None,
    typer.Option(
        "--fingerprint",
        metavar="TEXT",
        help="What another hospital read to you, in words or digits: compared in place of the question.",
    ),
]


@app.command(epilog=example("fedpriv keys new charite --home hospital"))
def new(
    name: Annotated[str, typer.Argument(help="The hospital's name: letters, digits and hyphens.")],
    home: Home = Path(),
) -> None:
    """Make a hospital's keys, and the request to enrol them."""
    from fedpriv.identity import enrolment

    request = enrolment.make_identity(name, home)
    typer.echo(f"private keys in {home / 'identity'}: they never leave this machine")
    typer.echo(f"send {enrolment.request_path(name, home)} to the operator, and read this over the phone:")
    _fingerprint(request.words, request.fingerprint)


@app.command(epilog=example("fedpriv keys show --home hospital"))
def show(home: Home = Path(), as_json: AsJson = False) -> None:
    """Show whose keys these are, with their fingerprint.

    It is the same in words and in digits: compare either. No secret is shown.
    """
    from fedpriv.identity import keys
    from fedpriv.identity.fingerprint import key_fingerprint, key_fingerprint_words

    identity = keys.load(home / "identity")
    key = identity.signing_public_key
    if as_json:
        echo_json(
            {
                "name": identity.name,
                "fingerprint": key_fingerprint(key),
                "words": key_fingerprint_words(key),
                "signing_key": key.hex(),
                "link_key": identity.link_public_key.decode("ascii"),
            }
        )
        return
    typer.echo(f"{identity.name}  {key_fingerprint(key)}")
    typer.echo(f"{'':{len(identity.name)}}  {key_fingerprint_words(key)}")


@app.command(epilog=example("fedpriv keys rotate --home hospital"))
def rotate(
    home: Home = Path(),
    link_only: Annotated[
        bool, typer.Option("--link-only", help="A new key for Flower's link alone; the signing key stays.")
    ] = False,
    lost: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The old keys are lost: make new ones for this member."),
    ] = None,
) -> None:
    """Make new keys for a member of the roster.

    That is a hospital, or the coordinator. The old ones stay in use until a roster with the new ones is
    pinned there, or sealed. Stolen keys are not lost: they can still agree to their own end.
    """
    from fedpriv.identity import rotation
    from fedpriv.identity.enrolment import request_path

    request = rotation.rotate(home, link_only=link_only, lost=lost)
    name = request.member.name
    typer.echo(f"new keys in {home / rotation.NEXT_FOLDER}; the old ones are in use until a roster has these")
    if (home / "coordinator.toml").exists():
        typer.echo("next: `fedpriv keys enrol` puts them into a draft; read this to every hospital:")
    else:
        typer.echo(f"send {request_path(name, home)} to the operator, and read this over the phone:")
    _fingerprint(request.words, request.fingerprint)


@app.command(epilog=example("fedpriv keys enrol *.request.toml --federation leukaemia --home coordinator"))
def enrol(
    requests: Annotated[
        list[Path] | None, typer.Argument(help="The hospitals' request files.", show_default=False)
    ] = None,
    federation: Annotated[
        str | None, typer.Option(help="The federation's name.", show_default="that of the roster in force")
    ] = None,
    leaves: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Take this hospital out; repeat for more.")
    ] = None,
    lost: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="The old key of this member is lost and cannot agree."),
    ] = None,
    home: CoordinatorHome = Path(),
) -> None:
    """As the operator: make a draft of the roster from requests.

    The first draft holds all of them. A later one follows the roster in force: a request of somebody who is
    in it brings new keys, any other lets a hospital join.
    """
    from fedpriv.coordinator import ceremony
    from fedpriv.coordinator.home import open_home
    from fedpriv.identity import enrolment

    coordinator = open_home(home)
    received = [enrolment.load_request(path) for path in requests or []]
    roster = ceremony.draft(
        coordinator, received, federation=federation, leaves=leaves or [], lost=lost or []
    )
    if received:
        typer.echo("each hospital must have read you this over the phone:")
    for request in received:
        typer.echo(f"  {request.member.name}  {request.fingerprint}")
        typer.echo(f"  {'':{len(request.member.name)}}  {request.words}")
    _changes(roster)
    typer.echo(f"if all is right, send {coordinator.draft_path} to every hospital to countersign; it is")
    _fingerprint(roster.words, roster.fingerprint)


@app.command(epilog=example("fedpriv keys countersign roster.draft.toml --home hospital"))
def countersign(
    draft: Annotated[Path, typer.Argument(help="The draft, as the operator sent it.")],
    home: Home = Path(),
    yes: Yes = False,
    read_to_you: ReadToYou = None,
) -> None:
    """Agree to a draft of the roster.

    All hospitals read the first line to each other over the phone, and whoever has a new key reads that, too.
    The file that is written goes to the operator. Nothing changes until everybody has agreed.
    """
    import datetime as dt

    from fedpriv.errors import IdentityError
    from fedpriv.identity.countersigning import dump_countersignatures
    from fedpriv.identity.roster import load_roster
    from fedpriv.identity.rotation import own_countersignatures, own_identity
    from fedpriv.identity.tls import check_dates
    from fedpriv.toml_files import replace_file

    found = load_roster(draft)
    name = own_identity(home, found).name
    check_dates(
        found.coordinator.ca_certificate,
        f"{draft}: the certificate authority",
        dt.datetime.now(dt.UTC),
        fix="ask the operator for a draft with a new one",
    )
    _show(found)
    _compare(found, read_to_you, yes=yes)
    path = home / f"{name}.countersignature.toml"
    replace_file(path, dump_countersignatures(found, own_countersignatures(home, found)), IdentityError)
    typer.echo(f"send {path} to the operator", err=True)


@app.command(epilog=example("fedpriv keys seal *.countersignature.toml --home coordinator"))
def seal(
    countersignatures: Annotated[list[Path], typer.Argument(help="What the hospitals sent.")],
    home: CoordinatorHome = Path(),
) -> None:
    """As the operator: put the draft into force.

    Everybody must have countersigned it. It is effective from the next round on, and refused while rounds
    are run.
    """
    import datetime as dt

    from fedpriv.coordinator import ceremony
    from fedpriv.coordinator.home import open_home

    coordinator = open_home(home)
    roster = ceremony.seal(coordinator, countersignatures, dt.datetime.now(dt.UTC))
    typer.echo(f"roster number {roster.number} of {roster.federation} is in force; send every hospital")
    typer.echo(f"{coordinator.roster_path}: it takes part again once it has pinned it. Its fingerprint is")
    _fingerprint(roster.words, roster.fingerprint)


@app.command(epilog=example("fedpriv keys roster roster.toml --pin --home hospital"))
def roster(
    file: Annotated[Path, typer.Argument(help="The roster file.")] = Path("roster.toml"),
    pin: Annotated[
        bool, typer.Option("--pin", help="Compare the fingerprint, then keep the roster.")
    ] = False,
    yes: Yes = False,
    read_to_you: ReadToYou = None,
    home: Home = Path(),
    as_json: AsJson = False,
) -> None:
    """Show who is in a roster; with --pin, trust it from now on.

    All hospitals compare its fingerprint over the phone before they pin it. It must be countersigned by
    everybody in it and follow the one that was pinned before. The node must not run meanwhile.
    """
    import datetime as dt

    from fedpriv.identity.countersigning import check_countersigned, missing
    from fedpriv.identity.roster import load_roster
    from fedpriv.node import pinning

    found = load_roster(file)
    if as_json:
        echo_json(_as_json(found) | {"missing_countersignatures": missing(found)})
    else:
        _show(found)
    if pin:
        check_countersigned(found)
        _compare(found, read_to_you, yes=yes)
        pinning.pin(home, found, dt.datetime.now(dt.UTC))
        typer.echo(f"pinned in {home / pinning.ROSTER_FILE}", err=True)


def _compare(found: Roster, read_to_you: str | None, *, yes: bool) -> None:
    """Refused unless the admin says that the fingerprint is the others', or gives the very same."""
    from fedpriv.errors import Refused
    from fedpriv.identity.fingerprint import same_fingerprint

    if read_to_you is not None:
        same = same_fingerprint(read_to_you, found.digest)
    else:
        same = yes or typer.confirm("does everybody read the same fingerprint, and is each change right?")
    if not same:
        raise Refused(
            "the fingerprint of the roster is not the one that the others have: nothing was done",
            hint="somebody was sent another roster; call the operator and the hospitals, and start again",
        )


def _show(found: Roster) -> None:
    """The roster for people to compare: its own fingerprint first, then what changed and who is in it."""
    from fedpriv.identity.countersigning import missing
    from fedpriv.identity.fingerprint import key_fingerprint, key_fingerprint_words
    from fedpriv.identity.succession import everyone

    typer.echo(f"{found.federation}  {found.fingerprint}")
    typer.echo(f"{'':{len(found.federation)}}  {found.words}")
    typer.echo(f"  roster number {found.number}; coordinator {found.coordinator.name}")
    _changes(found)
    for member in everyone(found):
        typer.echo(f"  {member.name}  {key_fingerprint(member.signing_key)}")
        typer.echo(f"  {'':{len(member.name)}}  {key_fingerprint_words(member.signing_key)}")
    absent = missing(found)
    typer.echo(
        f"  not in force: not countersigned yet by {', '.join(absent)}"
        if absent
        else "  countersigned by everybody"
    )


def _changes(found: Roster) -> None:
    from fedpriv.identity.succession import changes

    for line in changes(found):
        typer.echo(f"  change: {line}")


def _fingerprint(words: str, digits: str) -> None:
    typer.echo(f"  {words}")
    typer.echo(f"  {digits}")


def _as_json(found: Roster) -> dict[str, object]:
    from fedpriv.identity.fingerprint import key_fingerprint
    from fedpriv.identity.succession import changes

    return {
        "federation": found.federation,
        "number": found.number,
        "fingerprint": found.fingerprint,
        "words": found.words,
        "digest": found.digest.hex(),
        "predecessor": found.predecessor.digest.hex() if found.predecessor is not None else None,
        "changes": changes(found),
        "coordinator": found.coordinator.name,
        "hospitals": {member.name: key_fingerprint(member.signing_key) for member in found.hospitals},
    }
