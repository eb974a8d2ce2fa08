"""For every request: nothing is cached, no device is opened, a body is measured before it is read."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from django.http import UnreadablePostError
from django.utils.deprecation import MiddlewareMixin

from fedpriv.page.config import MOST_FORM_BYTES, MOST_UPLOAD_BYTES, current
from fedpriv.page.limits import OverLimit, check_room
from fedpriv.page.responses import Reason, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

_PERMISSIONS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(),"
    " microphone=(), midi=(), payment=(), usb=()"
)
_DISCARDED_BYTES = 512 << 20
_DISCARDING_S = 30.0
_CHUNK_BYTES = 1 << 16


class PrivateAnswers(MiddlewareMixin):
    """Answers are for this user and this moment: no cache keeps them."""

    def process_response(self, _request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Add the headers that Django has no setting for."""
        response["Cache-Control"] = "no-store"
        response["Permissions-Policy"] = _PERMISSIONS
        return response


class MeasuredBodies(MiddlewareMixin):
    """Turns a request away before its body is read, if it is too large or its user has asked enough.

    It stands after the log-in and before the check against forged forms, which is the first to read a body.
    """

    def process_view(
        self, request: HttpRequest, view: Callable[..., object], *_arguments: object
    ) -> HttpResponse | None:
        """Measure the body of a request whose view is known."""
        takes_images = getattr(view, "takes_images", False)
        most = MOST_UPLOAD_BYTES if takes_images else MOST_FORM_BYTES
        if _announced_bytes(request) > most:
            if takes_images:
                _discard_body(request)
            return refuse(request, 413, Reason.REQUEST_TOO_LARGE)
        if takes_images and request.method == "POST":
            try:
                check_room(request.user.get_username(), current().limits)
            except OverLimit as over:
                _discard_body(request)
                return refuse(request, 429, Reason.TOO_OFTEN, over.retry_after_s)
        return None


def _announced_bytes(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _discard_body(request: HttpRequest) -> None:
    """Read and forget a body that a user is still sending: browsers read the answer only after that."""
    deadline = time.monotonic() + _DISCARDING_S
    discarded = 0
    with contextlib.suppress(UnreadablePostError):  # the user hung up
        while discarded < _DISCARDED_BYTES and time.monotonic() < deadline:
            chunk = request.read(_CHUNK_BYTES)
            if not chunk:
                return
            discarded += len(chunk)
