"""What each address answers, and what its template is given.

Every template also gets the context of `fedpriv.page.context`.

- ``page/login.html``: ``form``, Django's AuthenticationForm.
- ``page/upload.html``: nothing more. Its form posts files named ``images`` to the view ``read``.
- ``page/result.html``: ``outcomes``, a tuple of `fedpriv.page.reading.Outcome` in the order of the files.
- ``page/card.html``: nothing more.
- ``page/refused.html``: ``status`` and ``reason``, a code: why a whole request was turned away.

The view ``read`` answers ``Accept: application/json`` with the same in JSON: ``{"model": digest, "outcomes":
[{"name", "refusal", "reading": {"probabilities": [{"name", "value"}], "top", "cannot_tell"}}]}``.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import msgspec
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from fedpriv.errors import ImageError
from fedpriv.page import inference
from fedpriv.page.config import current
from fedpriv.page.reading import Outcome, Refusal
from fedpriv.smears.decode import decode_stream

if TYPE_CHECKING:
    from django.core.files.uploadedfile import UploadedFile
    from django.http import HttpRequest


class LogIn(LoginView):
    """The only page for strangers."""

    template_name = "page/login.html"
    redirect_authenticated_user = True


@require_GET
def upload(request: HttpRequest) -> HttpResponse:
    """Where images are chosen."""
    return render(request, "page/upload.html")


@require_GET
def card(request: HttpRequest) -> HttpResponse:
    """What the model is, knows and cost."""
    return render(request, "page/card.html")


@login_not_required
@require_GET
def healthz(_request: HttpRequest) -> HttpResponse:
    """Say only that the process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_POST
def read(request: HttpRequest) -> HttpResponse:
    """Look at each uploaded image; the answer is in this response and nowhere else."""
    outcomes = tuple(_outcome(file) for file in request.FILES.getlist("images"))
    status = 200 if any(outcome.reading for outcome in outcomes) else 422
    if request.accepts("text/html"):
        return render(request, "page/result.html", {"outcomes": outcomes}, status=status)
    answer = {"model": getattr(current().card, "model_digest", None), "outcomes": outcomes}
    return HttpResponse(msgspec.json.encode(answer), content_type="application/json", status=status)


def _outcome(file: UploadedFile) -> Outcome:
    name = file.name or ""
    reader = inference.reader()
    try:
        pixels = decode_stream(io.BytesIO(file.read()), name, reader.size)
    except ImageError:
        return Outcome(name, refusal=Refusal.NOT_AN_IMAGE)
    return Outcome(name, reading=reader.read([pixels])[0])
