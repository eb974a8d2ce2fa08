"""What charges come to, by both accountants; hospitals that charged alike are composed once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from fedpriv.dp.accounting import composed_epsilon

if TYPE_CHECKING:
    from fedpriv.dp.accounting import Epsilon, PrivacyEvent


@functools.lru_cache(maxsize=256)
def composed(charges: tuple[PrivacyEvent, ...], delta: float) -> Epsilon:
    """As `fedpriv.dp.accounting.composed_epsilon`, remembered."""
    return composed_epsilon(charges, delta)
