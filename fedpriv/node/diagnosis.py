"""What a doctor says of one thing: how it is, what was found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """``WARN`` does not keep the node from working, ``FAIL`` does."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``fix`` is what to do, None where there is nothing."""

    subject: str
    health: Health
    found: str
    fix: str | None = None
