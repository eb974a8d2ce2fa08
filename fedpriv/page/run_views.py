"""The view of operators and auditors: read only, and for staff alone.

- ``page/runs.html``: ``runs``, a tuple of `fedpriv.page.runs.Run` or `Unreadable`, or None without a folder.
- ``page/run.html``: ``run`` and ``chart``, a `fedpriv.page.runs.Chart` or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from fedpriv.page.config import current
from fedpriv.page.runs import Run, chart_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest

# The report is one file with its style inside; it holds no script, and could not run one here.
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


def _check_staff(request: HttpRequest) -> None:
    if not cast("User", request.user).is_staff:
        raise PermissionDenied


@require_GET
def runs(request: HttpRequest) -> HttpResponse:
    """Every run in one table."""
    _check_staff(request)
    source = current().runs
    return render(request, "page/runs.html", {"runs": None if source is None else source()})


@require_GET
def run(request: HttpRequest, name: str) -> HttpResponse:
    """One run: its epsilon over the rounds, and who took part in each."""
    _check_staff(request)
    found = _find(name)
    return render(request, "page/run.html", {"run": found, "chart": chart_of(found)})


@require_GET
def report(request: HttpRequest, name: str) -> HttpResponse:
    """The report that an auditor put into the run's folder, as it is."""
    _check_staff(request)
    path = _find(name).report
    if path is None:
        raise Http404
    return HttpResponse(
        path.read_bytes(),
        content_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _REPORT_POLICY},
    )


def _find(name: str) -> Run:
    """The run of that name among those there are: a name is compared, never made into a path."""
    source = current().runs
    for found in () if source is None else source():
        if isinstance(found, Run) and found.name == name:
            return found
    raise Http404
