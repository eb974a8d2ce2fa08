"""What each address answers, and what its template is given.

Every template also gets the context of `fedpriv.page.context`.

- ``page/login.html``: ``form``, Django's AuthenticationForm.
- ``page/upload.html``: nothing more. Its form posts files named ``images`` to the view ``read``.
- ``page/result.html``: ``outcomes``, a tuple of `fedpriv.page.reading.Outcome` in the order of the files.
- ``page/card.html``: ``accuracies`` and ``by_class``, the tables of `fedpriv.page.figures`.
- ``page/refused.html``: ``status``, ``reason`` (a `fedpriv.page.responses.Reason` as text) and
  ``retry_after_s``, a number or None: why a whole request was turned away.

The view ``read`` answers ``Accept: application/json`` with the same in JSON: ``{"model": digest, "outcomes":
[{"name", "refusal", "reading": {"probabilities": [{"name", "value"}], "top", "cannot_tell"}, "map"}]}``;
``map`` is a `fedpriv.page.evidence.EvidenceMap` where the form had a field ``map``, and null otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from fedpriv.page import inference, throttle
from fedpriv.page.config import current
from fedpriv.page.decoder import Refused
from fedpriv.page.figures import accuracies, by_class
from fedpriv.page.limits import OverLimit, charge, settle
from fedpriv.page.reading import Outcome, Refusal, status_of
from fedpriv.page.responses import Reason, json_response, refuse, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from django.core.files.uploadedfile import UploadedFile
    from django.http import HttpRequest
    from numpy.typing import NDArray


class LogIn(LoginView):
    """The only page for strangers."""

    template_name = "page/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """Look at the password, if this name and this address have not guessed too often."""
        places = throttle.take_places(request)
        if places is None:
            return refuse(request, 429, Reason.TOO_MANY_GUESSES, throttle.WINDOW_S)
        response = super().post(request, *args, **kwargs)
        if request.user.is_authenticated:
            throttle.give_back(places)
        return response


@require_GET
def upload(request: HttpRequest) -> HttpResponse:
    """Where images are chosen."""
    return render(request, "page/upload.html")


@require_GET
def card(request: HttpRequest) -> HttpResponse:
    """What the model is, knows and cost."""
    model_card = current().model_card
    return render(
        request, "page/card.html", {"accuracies": accuracies(model_card), "by_class": by_class(model_card)}
    )


@login_not_required
@require_GET
def healthz(_request: HttpRequest) -> HttpResponse:
    """Say only that the process answers; a container's health check has no user."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_POST
def read(request: HttpRequest) -> HttpResponse:
    """Look at each uploaded image; the answer is in this response and nowhere else."""
    files = request.FILES.getlist("images")
    if not files:
        return refuse(request, 400, Reason.NO_IMAGE)
    model_digest = inference.reader().card.model_digest
    try:
        records = charge(request.user.get_username(), model_digest, current().limits, len(files))
    except OverLimit as over:
        return refuse(request, 429, Reason.TOO_OFTEN, over.retry_after_s)
    outcomes = _outcomes(files, with_maps="map" in request.POST)
    settle(records, outcomes)
    status = status_of(outcomes)
    if wants_json(request):
        return json_response({"model": model_digest, "outcomes": outcomes}, status)
    return render(request, "page/result.html", {"outcomes": outcomes}, status=status)


read.takes_images = True  # type: ignore[attr-defined] # for fedpriv.page.middleware.MeasuredBodies


def _outcomes(files: Sequence[UploadedFile], *, with_maps: bool) -> tuple[Outcome, ...]:
    """One outcome a file; the images that could be decoded are read together."""
    reader = inference.reader()
    decoded: list[NDArray[np.float32] | Refusal] = []
    for file in files:
        try:
            decoded.append(reader.decode(file.read()))
        except Refused as refused:
            decoded.append(refused.refusal)
    readings = iter(reader.read([pixels for pixels in decoded if not isinstance(pixels, Refusal)]))
    outcomes = []
    for file, pixels in zip(files, decoded, strict=True):
        name = file.name or ""
        if isinstance(pixels, Refusal):
            outcomes.append(Outcome(name, refusal=pixels))
        else:
            reading = next(readings)
            found = reader.map_evidence(pixels, reading) if with_maps else None
            outcomes.append(Outcome(name, reading=reading, map=found))
    return tuple(outcomes)
