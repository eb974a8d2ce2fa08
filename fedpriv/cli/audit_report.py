"""``fedpriv audit report``: a bundle as a page for people, as JSON, or in the form of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.audit_verify import check_fingerprint
from fedpriv.cli.json_output import echo_json
from fedpriv.errors import InputError, Refused

if TYPE_CHECKING:
    from fedpriv.audit.report.attached import Attached


def report(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle of a run.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page here, as HTML.")] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print it beside that, as PDF; needs Chromium or Chrome.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every fact as JSON for scripts.")] = False,
    registry: Annotated[
        bool, typer.Option("--registry", help="Print an entry for the registry of deployments, as JSON.")
    ] = False,
    roster_fingerprint: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the roster's fingerprint must be, in words or digits."),
    ] = None,
    conformance: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `fedpriv audit conformance --json` printed.")
    ] = None,
    attacks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `fedpriv audit attack all --json` printed.")
    ] = None,
    utility: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `fedpriv model evaluate --json` printed.")
    ] = None,
    tuning: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The operator's word on how settings were chosen.")
    ] = None,
) -> None:
    """Verify a bundle and report on it.

    The page is one file that refers to nothing outside itself. A bundle whose claims fail is reported as
    FAILED, with exit code 1; without a statement that every report must make, nothing is written.
    """
    from fedpriv.audit.bundle import read_bundle
    from fedpriv.audit.claims import Claims
    from fedpriv.audit.report.fields import fields_of, refuse_unknown
    from fedpriv.audit.report.page import failed_page_of, page_of
    from fedpriv.audit.report.record import record_of
    from fedpriv.audit.report.registry import registry_entry
    from fedpriv.audit.report.subject import subject_of
    from fedpriv.audit.verify import verify

    _check_forms(out, pdf=pdf, as_json=as_json, registry=registry)
    attached = _attached(conformance, attacks, utility, tuning)
    claims = Claims()
    packed = read_bundle(claims, bundle)
    check_fingerprint(packed.roster, roster_fingerprint)
    verdict = verify(claims, packed.roster, packed.run, packed.journals)
    subject = subject_of(packed, verdict, attached, fingerprint_compared=roster_fingerprint is not None)
    if subject is not None and not verdict.failures:
        refuse_unknown(fields_of(subject))
    if out is not None:
        _write(out, failed_page_of(packed, verdict) if subject is None else page_of(subject), pdf=pdf)
    if subject is not None and as_json:
        echo_json(record_of(subject))
    if verdict.failures:
        first = verdict.failures[0]
        failed = f"FAILED: {len(verdict.failures)} of {verdict.checked} claims"
        raise Refused(
            f"{failed}, first {first.record}: {first.reason}",
            hint="`fedpriv audit verify` lists them all",
        )
    if subject is not None and registry:
        echo_json(registry_entry(subject))
    elif out is not None and not as_json:
        typer.echo(f"written to {out}")


def _check_forms(out: Path | None, *, pdf: bool, as_json: bool, registry: bool) -> None:
    """What is asked for goes together, and can be made: checked before the work is done."""
    from fedpriv.audit.report.paper import find_browser

    if as_json and registry:
        raise InputError("--json and --registry both print", hint="ask for one at a time")
    if out is None and not (as_json or registry):
        raise InputError(
            "no report is asked for", hint="name a file with --out, or give --json or --registry"
        )
    if pdf:
        if out is None:
            raise InputError("--pdf needs --out", hint="the PDF lies beside the page")
        find_browser()


def _attached(
    conformance: Path | None, attacks: Path | None, utility: Path | None, tuning: str | None
) -> Attached:
    from fedpriv.audit.report.attached import Attached, Attacks, Conformance, Utility, attach

    return Attached(
        conformance=None
        if conformance is None
        else attach(conformance, Conformance, "fedpriv audit conformance --json"),
        attacks=None if attacks is None else attach(attacks, Attacks, "fedpriv audit attack all --json"),
        utility=None if utility is None else attach(utility, Utility, "fedpriv model evaluate --json"),
        tuning=tuning,
    )


def _write(out: Path, page: str, *, pdf: bool) -> None:
    from fedpriv.audit.report.paper import print_to_pdf
    from fedpriv.toml_files import replace_file

    replace_file(out, page, InputError)
    if pdf:
        print_to_pdf(page, out.with_suffix(".pdf"))
