"""How often a password may be guessed: each guess takes a place, and a place is free again after a while.

A place is an entry of the cache that all workers share. Adding an entry that is there fails, on every backend
and between processes, so guesses that come at once are all counted. A right password gives its places back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.cache import cache
from django.utils.crypto import salted_hmac

from fedpriv.page.config import current

if TYPE_CHECKING:
    from django.http import HttpRequest

WINDOW_S = 300
GUESSES_OF_A_NAME_FROM_AN_ADDRESS = 5
GUESSES_OF_A_NAME = 20
GUESSES_FROM_AN_ADDRESS = 50  # a hospital may have one address for everybody
_LONGEST_NAME = 150


def take_places(request: HttpRequest) -> list[str] | None:
    """Places for one guess, or None if there is none: then the password must not be looked at."""
    name = request.POST.get("username", "")[:_LONGEST_NAME].casefold()
    address = client_address(request)
    taken: list[str] = []
    for subject, places in (
        (f"both:{address}:{name}", GUESSES_OF_A_NAME_FROM_AN_ADDRESS),
        (f"name:{name}", GUESSES_OF_A_NAME),
        (f"address:{address}", GUESSES_FROM_AN_ADDRESS),
    ):
        place = _take(subject, places)
        if place is None:
            give_back(taken)
            return None
        taken.append(place)
    return taken


def give_back(places: list[str]) -> None:
    """Free places: the guess was right."""
    cache.delete_many(places)


def client_address(request: HttpRequest) -> str:
    """Who connected; behind a proxy, whom the proxy says: the last address, which a client cannot forge."""
    if current().behind_proxy:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
        return str(forwarded.rpartition(",")[2].strip())
    return str(request.META.get("REMOTE_ADDR", ""))


def _take(subject: str, places: int) -> str | None:
    """One of the ``places`` of ``subject``; what it is stands nowhere but in a keyed hash."""
    key = salted_hmac("fedpriv.page.throttle", subject, algorithm="sha256").hexdigest()
    for number in range(places):
        place = f"guess:{key}:{number}"
        if cache.add(place, 1, timeout=WINDOW_S):
            return place
    return None
