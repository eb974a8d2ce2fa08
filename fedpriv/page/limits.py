"""How often one user may ask: two sliding windows, counted in the access record.

The record lies in the database, so all workers share it and a restart forgives nothing. An image is charged
before it is looked at, whatever comes of it.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from fedpriv.page.models import AccessRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fedpriv.page.config import Limits
    from fedpriv.page.reading import Outcome

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class OverLimit(Exception):
    """A user asked too often; there is room again in ``retry_after_s`` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


def check_room(user: str, limits: Limits, images: int = 1) -> None:
    """Raise `OverLimit` if ``user`` may not ask about ``images`` more images now."""
    now = timezone.now()
    waits = (
        _wait(user, now, window, limit, images)
        for window, limit in ((_MINUTE, limits.images_per_minute), (_DAY, limits.images_per_day))
    )
    longest = max(waits)
    if longest:
        raise OverLimit(math.ceil(longest.total_seconds()))


def charge(user: str, model_digest: str, limits: Limits, images: int) -> list[AccessRecord]:
    """Record ``images`` images of ``user`` before they are looked at, or raise `OverLimit` and record none.

    Two requests of one user at once are counted one after the other: SQLite lets one writer begin at a time,
    other databases lock the user's row.
    """
    with transaction.atomic():
        User.objects.select_for_update().get(username=user)
        check_room(user, limits, images)
        now = timezone.now()
        return AccessRecord.objects.bulk_create(
            AccessRecord(time=now, user=user, model_digest=model_digest) for _ in range(images)
        )


def settle(records: Sequence[AccessRecord], outcomes: Sequence[Outcome]) -> None:
    """Write what came of each image into its record: the code only."""
    for record, outcome in zip(records, outcomes, strict=True):
        record.outcome = outcome.code
    AccessRecord.objects.bulk_update(records, ["outcome"])


def _wait(user: str, now: datetime, window: timedelta, limit: int, images: int) -> timedelta:
    """How long until ``images`` more fit into the last ``window``."""
    recent = AccessRecord.objects.filter(user=user, time__gt=now - window).order_by("time")
    excess = recent.count() + images - limit
    if excess <= 0:
        return timedelta()
    if images > limit:
        return window
    leaves_last: datetime = recent.values_list("time", flat=True)[excess - 1]
    return max(leaves_last + window - now, timedelta(seconds=1))
