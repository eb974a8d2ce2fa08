"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """``observed`` is the statistic in words; ``p_value`` is None where nothing is left to chance.

    ``catches`` says what would have failed the check, and how surely.
    """

    holds: bool
    observed: str
    p_value: float | None
    catches: str
