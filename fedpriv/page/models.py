"""The one table of the page's own: who asked when, of which model, and what kind of answer there was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from datetime import datetime

ASKED = "asked"
"""The outcome code from the charge to the answer; it stays where a process died in between."""


class AccessRecord(models.Model):
    """One image that was sent. ``outcome`` is the code of `fedpriv.page.reading.Outcome`, never a class.

    The record is also the meter of `limits`. ``user`` is the name: a record outlives its user.
    """

    time: models.DateTimeField[datetime, datetime] = models.DateTimeField()
    user: models.CharField[str, str] = models.CharField(max_length=150)
    model_digest: models.CharField[str, str] = models.CharField(max_length=64)
    outcome: models.CharField[str, str] = models.CharField(max_length=20, default=ASKED)

    class Meta:
        """Counting looks for one user's records of late."""

        indexes = (models.Index(fields=("user", "time"), name="page_user_time"),)

    def __str__(self) -> str:
        return f"{self.time:%Y-%m-%d %H:%M:%S} {self.user} {self.outcome}"
