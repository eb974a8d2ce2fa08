"""How much one request may bring."""

from __future__ import annotations

MOST_IMAGES = 32
MOST_BYTES = 32 << 20
