"""Epsilon over rounds as bars of text, for a terminal or a mail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.plan import Spent

_WIDTH = 40
_ROWS = 10


def bar(value: float, limit: float) -> str:
    """``value`` as a share of ``limit``, 40 signs wide; a limit of infinity is never reached."""
    share = 1.0 if value >= limit else value / limit
    return f"{'#' * round(_WIDTH * share):.<{_WIDTH}}"


def chart(course: Sequence[Spent], limit: float) -> list[str]:
    """At most ten lines: the rounds, a bar up to ``limit``, the epsilon."""
    step = max(1, math.ceil(len(course) / _ROWS))
    shown = course[::-step][::-1]  # the last round always
    width = max((len(str(spent.rounds)) for spent in shown), default=0)
    return [
        f"{spent.rounds:{max(width, 6)}}  [{bar(spent.epsilon, limit)}]  {spent.epsilon:.4g}"
        for spent in shown
    ]
