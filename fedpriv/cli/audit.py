"""``fedpriv audit``: what an auditor types; nothing here trusts the software that it looks at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli import audit_attack, audit_report, audit_verify
from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json
from fedpriv.errors import Refused

if TYPE_CHECKING:
    from fedpriv.audit.conformance import Check
    from fedpriv.audit.finding import Finding

app = typer.Typer(help="Check what is claimed, without trusting who claims it.", no_args_is_help=True)

app.add_typer(audit_attack.app, name="attack")
app.command("verify", epilog=example("fedpriv audit verify out/bundle.zip"))(audit_verify.verify)
app.command("report", epilog=example("fedpriv audit report out/bundle.zip --out report.html"))(
    audit_report.report
)

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

    It runs the trainers of `fedpriv node start` on drawn images, in about a minute. Exit code 1 if
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
                        "unit": check.unit,
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
    failed = [f"{check.name} ({check.noise}, {check.unit})" for check, finding in found if not finding.holds]
    if failed:
        raise Refused(
            f"{len(failed)} of {len(found)} checks fail: {', '.join(failed)}",
            hint="train nothing with this installation",
        )


def _line(check: Check, finding: Finding) -> str:
    mark = "ok" if finding.holds else "FAIL"
    chance = "" if finding.p_value is None else f"; p = {finding.p_value:.2g}"
    subject = f"{check.noise}, {check.unit}: {check.name}"
    return f"{mark:<5} {subject:<40} {finding.observed}{chance}; would catch {finding.catches}"
