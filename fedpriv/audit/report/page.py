"""A report as one HTML file that refers to nothing outside itself. The same bundle gives the same bytes.

Names, reasons and versions in it come from files that strangers wrote: the template escapes every value, the
page allows no script and no request (Content-Security-Policy), and only the figures are taken as they are.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from fedpriv import __version__
from fedpriv.audit.report import figures
from fedpriv.audit.report.checklist import Answer, Group, checklist_of
from fedpriv.audit.report.fields import fields_of
from fedpriv.audit.report.participation import Part
from fedpriv.audit.report.subject import counted, number
from fedpriv.plan import CANDIDATES, candidates_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.audit.bundle import Bundle
    from fedpriv.audit.report.subject import Subject
    from fedpriv.audit.verify import Verdict

_MOST_FAILURES_SHOWN = 50


def page_of(subject: Subject) -> str:
    """The whole page."""
    facts, study = subject.facts, subject.study
    return _render(
        "report.html.jinja",
        subject=subject,
        bundle=subject.bundle,
        verdict=subject.verdict,
        facts=facts,
        study=study,
        claim=claim_sentence(subject),
        candidates=candidates_line(study.privacy.unit, facts.candidate_success),
        dates=_dates(subject),
        fields=fields_of(subject),
        groups=[(group, [item for item in checklist_of(subject) if item.group is group]) for group in Group],
        incomplete=[line for line in facts.participation.rounds if set(line.parts) != {Part.IN_SUM}],
        epsilon_over_rounds=figures.epsilon_over_rounds(facts),
        privacy_curve=figures.privacy_curve(facts, study.privacy.delta),
        trade_off=figures.trade_off(facts),
        cohort_words=cohort_words,
        strips=figures.participation(facts),
        strip_key=figures.participation_key(),
        commands=_commands(subject.bundle, _options(subject)),
    )


def failed_page_of(bundle: Bundle, verdict: Verdict) -> str:
    """What is left to say if nothing can be said of the run: which claims fail."""
    return _render("failed.html.jinja", bundle=bundle, verdict=verdict, commands=_commands(bundle, ()))


def claim_sentence(subject: Subject) -> str:
    """The claim, in one sentence."""
    facts, privacy = subject.facts, subject.study.privacy
    rounds = counted(facts.charged, "charged round")
    if not facts.private:
        return f"Nothing is promised to any {privacy.unit}: no noise was added in {rounds}."
    return (
        f"Adding or removing any one {privacy.unit} changes the probability of whatever can be concluded "
        f"from the model and from {rounds} by a factor of at most e^{facts.spent.pld:.3f}, up to a "
        f"probability of {privacy.delta:g} (epsilon {facts.spent.pld:.3f}, delta {privacy.delta:g})."
    )


def _render(template: str, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fedpriv.audit", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, counted=counted, utc=_utc, sentence=_sentence)
    style = resources.files("fedpriv.audit").joinpath("report/style.css").read_text("utf-8")
    return environment.get_template(template).render(
        **values,
        style=Markup(style),  # noqa: S704 - our own file
        version=__version__,
        candidate_count=CANDIDATES,
        Answer=Answer,
        most_failures=_MOST_FAILURES_SHOWN,
    )


def _dates(subject: Subject) -> str:
    """From the first to the last round, by the hospitals' journals."""
    times = [
        line.began_unix_s for line in subject.facts.participation.rounds if line.began_unix_s is not None
    ]
    if not times:
        return "not shown: no journal tells the time"
    first, last = _utc(min(times)), _utc(max(times))
    return first if first == last else f"{first} to {last}"


def _sentence(words: str) -> str:
    """With a capital first letter and a full stop, unless it ends in one."""
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def cohort_words(cohort: Sequence[str], names: Sequence[str]) -> str:
    """A cohort by its members, or, if that is shorter, by who of the study's ``names`` is missing."""
    missing = [name for name in names if name not in cohort]
    if len(missing) >= len(cohort) or set(cohort) - set(names):
        return ", ".join(cohort)
    return f"all {len(cohort)}" if not missing else f"all but {', '.join(missing)}"


def _utc(unix_s: int) -> str:
    """A journal's time, in UTC; a number that is no date stays one."""
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{unix_s} s"


def _commands(bundle: Bundle, options: Sequence[str]) -> list[tuple[str, str]]:
    """What to type; ``options`` are those that this report was asked for with."""
    fingerprint = shlex.quote(bundle.roster.fingerprint)
    return [
        ("The file is the one this report is about", f"sha256sum bundle.zip   # {bundle.sha256}"),
        ("Every claim again", f"fedpriv audit verify bundle.zip --roster-fingerprint {fingerprint}"),
        (
            "This report again",
            f"fedpriv audit report {shlex.join(['bundle.zip', *options])} --out report.html",
        ),
        ("The study", "unzip bundle.zip study.toml"),
        ("The mechanism, measured", "fedpriv audit conformance --study study.toml --json > conformance.json"),
    ]


def _options(subject: Subject) -> list[str]:
    attached = subject.attached
    given = (
        ("--roster-fingerprint", subject.bundle.roster.fingerprint if subject.fingerprint_compared else None),
        ("--conformance", attached.conformance and attached.conformance.name),
        ("--attacks", attached.attacks and attached.attacks.name),
        ("--utility", attached.utility and attached.utility.name),
        ("--tuning", attached.tuning),
    )
    return [word for option, value in given if value for word in (option, value)]
