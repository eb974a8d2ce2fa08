"""``fedpriv audit``: what an auditor types; nothing here trusts the software that it looks at."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json
from fedpriv.errors import InputError, Refused

if TYPE_CHECKING:
    from fedpriv.audit.conformance import Check
    from fedpriv.audit.finding import Finding

app = typer.Typer(help="Check what is claimed, without trusting who claims it.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command(epilog=example("fedpriv audit conformance --study study.toml"))
def conformance(
    study: Annotated[
        Path | None,
        typer.Option(help="Test the mechanism of this study.", show_default="a small one of each kind"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether training here is as private as claimed.

    It runs the trainers of `fedpriv node start` on drawn images, in about half a minute. Exit code 1 if
    a check fails; a check that rests on chance fails wrongly less than once in a million runs.
    """
    from fedpriv.audit.conformance import checks, installed_mechanisms
    from fedpriv.study import load_study

    studies = installed_mechanisms() if study is None else (load_study(study),)
    planned = [check for one in studies for check in checks(one)]
    typer.echo(f"{len(planned)} checks of the training that is installed here", err=True)
    found: list[tuple[Check, Finding]] = []
    for check in planned:
        found.append((check, check.run()))
        if not as_json:
            typer.echo(_line(*found[-1]))
    if as_json:
        echo_json(
            {
                "holds": all(finding.holds for _, finding in found),
                "checks": [
                    {
                        "noise": check.noise,
                        "check": check.name,
                        "holds": finding.holds,
                        "observed": finding.observed,
                        "p_value": finding.p_value,
                        "catches": finding.catches,
                    }
                    for check, finding in found
                ],
            }
        )
    failed = [f"{check.name} ({check.noise})" for check, finding in found if not finding.holds]
    if failed:
        raise Refused(
            f"{len(failed)} of {len(found)} checks fail: {', '.join(failed)}",
            hint="train nothing with this installation",
        )


def _line(check: Check, finding: Finding) -> str:
    mark = "ok" if finding.holds else "FAIL"
    chance = "" if finding.p_value is None else f"; p = {finding.p_value:.2g}"
    subject = f"{check.noise} {check.name}"
    return f"{mark:<5} {subject:<30} {finding.observed}{chance}; would catch {finding.catches}"


@app.command(epilog=example("fedpriv audit verify --run coordinator/runs/RUN --journal hospital"))
def verify(
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A run's folder, in the coordinator's home.")
    ] = None,
    journal: Annotated[
        list[Path] | None,
        typer.Option(metavar="HOME", help="A hospital's home; give several to hold them against each other."),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(
            help="The roster to trust.", show_default="that of the first --journal, or beside the runs"
        ),
    ] = None,
    roster_fingerprint: Annotated[
        str | None,
        typer.Option(metavar="DIGITS", help="What the roster's fingerprint must be, as it was read to you."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every claim of a run and of journals, offline.

    Signatures, chains, cohorts, thresholds, models and epsilon are computed anew. Exit code 1 if a claim
    fails, each in one line with the record that it concerns. An old copy of a journal is found only
    against a run, or against the journal of another hospital.
    """
    from fedpriv.audit.claims import Claims
    from fedpriv.audit.evidence import read_hospital, read_run
    from fedpriv.audit.verify import verify as recompute
    from fedpriv.identity.roster import load_roster

    trusted = load_roster(_roster_path(roster, run, journal or []))
    _check_fingerprint(trusted.fingerprint, roster_fingerprint)
    claims = Claims()
    journals = [read_hospital(claims, home, trusted) for home in journal or []]
    evidence = None if run is None else read_run(claims, run)
    verdict = recompute(claims, trusted, evidence, [found for found in journals if found is not None])
    if as_json:
        echo_json({"roster": trusted.fingerprint, **asdict(verdict)})
    else:
        typer.echo(f"roster  {trusted.federation}  {trusted.fingerprint}")
        if evidence is not None and verdict.spent is not None:
            privacy = evidence.study.privacy
            typer.echo(
                f"run     {evidence.study.study.name}: {evidence.charged} rounds charged, epsilon "
                f"{verdict.spent.pld:.4g} (RDP {verdict.spent.rdp:.4g}) at delta {privacy.delta:g} per "
                f"{privacy.unit}"
            )
        for failure in verdict.failures:
            typer.echo(f"FAIL    {failure.record}: {failure.reason}")
        typer.echo(f"{verdict.checked - len(verdict.failures)} of {verdict.checked} claims hold")
    if verdict.failures:
        first = verdict.failures[0]
        raise Refused(f"{len(verdict.failures)} claims fail, first {first.record}: {first.reason}")


def _roster_path(roster: Path | None, run: Path | None, journals: list[Path]) -> Path:
    """The file that was named, else where a hospital or the coordinator pinned it."""
    from fedpriv.node.home import open_home

    if roster is not None:
        return roster
    if journals:
        return open_home(journals[0]).roster_path
    if run is not None:
        return run.resolve().parent.parent / "roster.toml"
    raise InputError(
        "nothing to verify", hint="name a run with --run, a hospital's home with --journal, or both"
    )


def _check_fingerprint(found: str, expected: str | None) -> None:
    """Digits count, spaces do not."""
    if expected is not None and "".join(expected.split()) != "".join(found.split()):
        raise Refused(
            f"the roster's fingerprint is {found}, not {expected}",
            hint="it is another roster than the one that was read to you",
        )
