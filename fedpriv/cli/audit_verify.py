"""``fedpriv audit verify``: from a bundle, or a run and journals where they lie, to what holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.json_output import echo_json
from fedpriv.errors import InputError, Refused

if TYPE_CHECKING:
    from fedpriv.audit.bundle import Bundle
    from fedpriv.audit.evidence import RunEvidence
    from fedpriv.audit.verify import Verdict
    from fedpriv.identity.roster import Roster


def verify(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="The bundle of a run.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="In place of a bundle, a run in the coordinator's home."),
    ] = None,
    journal: Annotated[
        list[Path] | None,
        typer.Option(metavar="HOME", help="A hospital's home; give several to hold them against each other."),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(
            help="The roster to trust.",
            show_default="the bundle's, that of the first --journal, or beside the runs",
        ),
    ] = None,
    roster_fingerprint: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the roster's fingerprint must be, in words or digits."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Recompute every claim of a bundle, offline.

    Signatures, chains, cohorts, thresholds, models and epsilon are computed anew. Exit code 1 if a claim
    fails, each in one line with the record that it concerns. What the evidence leaves open is listed as not
    shown. Trusted is the roster alone: compare its fingerprint, or give it with --roster-fingerprint.
    """
    from fedpriv.audit.bundle import read_bundle
    from fedpriv.audit.claims import Claims
    from fedpriv.audit.evidence import read_hospital, read_run
    from fedpriv.audit.verify import verify as recompute
    from fedpriv.identity.roster import load_roster

    homes = journal or []
    if bundle is not None and run is not None:
        raise InputError("a bundle holds a run of its own", hint="give BUNDLE or --run, not both")
    claims = Claims()
    packed = None if bundle is None else read_bundle(claims, bundle)
    if packed is not None and roster is None:
        trusted = packed.roster
    else:
        trusted = load_roster(_roster_path(roster, run, homes))
    check_fingerprint(trusted, roster_fingerprint)
    if packed is not None:
        known = trusted.at(packed.roster.digest) is not None
        claims.hold("roster", "the bundle has another one, and not an earlier one either", given=known)
    if roster_fingerprint is None and roster is None and not homes:
        claims.leave_open("roster", "that it is the one which the hospitals pinned: compare its fingerprint")
    if not as_json:
        _say_what(packed, bundle)
        typer.echo(f"roster  {trusted.federation}  {trusted.fingerprint}")
    journals = [read_hospital(claims, home, trusted) for home in homes]
    if packed is not None:
        evidence = packed.run
        named = {found.hospital for found in journals if found is not None}
        journals += [found for found in packed.journals if found.hospital not in named]
    else:
        evidence = None if run is None else read_run(claims, run)
    verdict = recompute(claims, trusted, evidence, [found for found in journals if found is not None])
    if as_json:
        _echo_json(trusted.fingerprint, verdict, packed)
    else:
        _say(verdict, evidence)
    if verdict.failures:
        first = verdict.failures[0]
        raise Refused(f"{len(verdict.failures)} claims fail, first {first.record}: {first.reason}")


def _say_what(packed: Bundle | None, path: Path | None) -> None:
    if packed is not None:
        version = packed.contents.versions.get("fedpriv", "?")
        typer.echo(f"bundle  {path}, SHA-256 {packed.sha256}, written by fedpriv {version}")


def _say(verdict: Verdict, evidence: RunEvidence | None) -> None:
    if evidence is not None and verdict.spent is not None:
        privacy, spent = evidence.study.privacy, verdict.spent
        typer.echo(
            f"run     {evidence.study.study.name}: {evidence.charged} rounds charged, epsilon "
            f"{spent.pld:.4g} (RDP {spent.rdp:.4g}) at delta {privacy.delta:g} per "
            f"{privacy.unit}, {privacy.noise} noise"
        )
        for line in _against(verdict, evidence):
            typer.echo(f"        {line}")
        for charged in verdict.charged:
            in_all = "" if charged.in_all is None else f"; in all studies {charged.in_all.pld:.4g}"
            typer.echo(
                f"journal {charged.hospital}: {charged.rounds} rounds charged, epsilon "
                f"{charged.epsilon.pld:.4g} (RDP {charged.epsilon.rdp:.4g}){in_all}"
            )
    for gap in verdict.not_shown:
        typer.echo(f"?       not shown: {gap.record}: {gap.reason}")
    for failure in verdict.failures:
        typer.echo(f"FAIL    {failure.record}: {failure.reason}")
    unshown = f", {len(verdict.not_shown)} not shown" if verdict.not_shown else ""
    typer.echo(f"{verdict.checked - len(verdict.failures)} of {verdict.checked} claims hold{unshown}")


def _against(verdict: Verdict, evidence: RunEvidence) -> list[str]:
    """Whom the epsilon holds against, a line each."""
    if not verdict.coalitions:
        if evidence.study.privacy.noise == "none":
            return ["no noise was added: nothing is promised"]
        return [
            "against the world, the coordinator and all other hospitals together: each added all of the noise"
        ]
    others = len(evidence.study.names) - 1
    lines = []
    for coalition in verdict.coalitions:
        match coalition.colluders:
            case 0:
                whom = "the world, and the coordinator by itself"
            case count if count == others:
                whom = f"the coordinator and all {count} other hospitals"
            case 1:
                whom = "any one hospital, also with the coordinator"
            case count:
                whom = f"the coordinator and {count} colluding hospitals"
        lines.append(f"epsilon {coalition.epsilon:.4g} against {whom}")
    return lines


def _echo_json(fingerprint: str, verdict: Verdict, packed: Bundle | None) -> None:
    from dataclasses import asdict

    found: dict[str, object] = {"roster": fingerprint, **asdict(verdict)}
    if packed is not None:
        found |= {"bundle": packed.sha256, "versions": packed.contents.versions}
    echo_json(found)


def _roster_path(roster: Path | None, run: Path | None, journals: list[Path]) -> Path:
    """The file that was named, else where a hospital or the coordinator pinned it."""
    from fedpriv.node.home import open_home

    if roster is not None:
        return roster
    if journals:
        return open_home(journals[0]).roster_path
    if run is not None:
        return run.resolve().parent.parent / "roster.toml"
    raise InputError("nothing to verify", hint="name a bundle, a run with --run, or a home with --journal")


def check_fingerprint(roster: Roster, expected: str | None) -> None:
    """Refused unless ``expected`` is the fingerprint of ``roster``, in words or digits."""
    from fedpriv.identity.fingerprint import same_fingerprint

    if expected is not None and not same_fingerprint(expected, roster.digest):
        raise Refused(
            f"the roster's fingerprint is {roster.fingerprint}, not {expected}",
            hint="it is another roster than the one that was read to you",
        )
