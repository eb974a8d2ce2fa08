"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from ``first_s`` to ``last_s``, each cut at random by up to half.

    The cut keeps those that failed at one moment from coming back at one moment.
    """

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._next_s = first_s

    def pause_s(self) -> float:
        """The next pause, in seconds."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._last_s)
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads calls, protects nobody

    def reset(self) -> None:
        """Begin with ``first_s`` again: it worked."""
        self._next_s = self._first_s
