"""A whole request that is turned away: a page or a JSON object, with a code that templates put into words."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from django.core.exceptions import TooManyFilesSent
from django.http import HttpResponse
from django.shortcuts import render

if TYPE_CHECKING:
    from django.http import HttpRequest


class Reason(StrEnum):
    """Why a request was turned away."""

    BAD_REQUEST = "bad_request"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    FAILED = "failed"
    REQUEST_TOO_LARGE = "request_too_large"
    NO_IMAGE = "no_image"
    TOO_MANY_IMAGES = "too_many_images"
    TOO_OFTEN = "too_often"
    TOO_MANY_GUESSES = "too_many_guesses"


def wants_json(request: HttpRequest) -> bool:
    """Whether the client asked for JSON and would not take a page."""
    return request.accepts("application/json") and not request.accepts("text/html")


def json_response(value: object, status: int) -> HttpResponse:
    """``value`` (dataclasses, dictionaries, lists) as JSON."""
    return HttpResponse(msgspec.json.encode(value), content_type="application/json", status=status)


def refuse(
    request: HttpRequest, status: int, reason: Reason, retry_after_s: int | None = None
) -> HttpResponse:
    """The answer to a request that is turned away as a whole."""
    if wants_json(request):
        response = json_response({"refused": reason}, status)
    else:
        context = {"status": status, "reason": str(reason), "retry_after_s": retry_after_s}
        response = render(request, "page/refused.html", context, status=status)
    if retry_after_s is not None:
        response["Retry-After"] = str(retry_after_s)
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django calls suspicious or malformed."""
    if isinstance(exception, TooManyFilesSent):
        return refuse(request, 413, Reason.TOO_MANY_IMAGES)
    return refuse(request, 400, Reason.BAD_REQUEST)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    """Answer a user who may not see this."""
    return refuse(request, 403, Reason.FORBIDDEN)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """Answer a form that was not sent from the page."""
    return refuse(request, 403, Reason.FORBIDDEN)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    """Answer an address that is none."""
    return refuse(request, 404, Reason.NOT_FOUND)


def failed(request: HttpRequest) -> HttpResponse:
    """Answer after a mistake of ours."""
    return refuse(request, 500, Reason.FAILED)
