"""What charges come to, by both accountants; hospitals that charged alike are composed once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from fedpriv.dp.accounting import candidate_success, composed_epsilon

if TYPE_CHECKING:
    from fedpriv.dp.accounting import Epsilon, PrivacyEvent


@functools.lru_cache(maxsize=256)
def composed(charges: tuple[PrivacyEvent, ...], delta: float) -> Epsilon:
    """As `fedpriv.dp.accounting.composed_epsilon`, remembered."""
    return composed_epsilon(charges, delta)


@functools.lru_cache(maxsize=256)
def best_guess(charges: tuple[PrivacyEvent, ...]) -> float:
    """As `fedpriv.dp.accounting.candidate_success` among 100, remembered."""
    return candidate_success(charges)
