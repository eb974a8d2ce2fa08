"""How help shows a command line to copy."""

from __future__ import annotations


def example(line: str) -> str:
    r"""``line`` at the end of a command's help; click wraps no paragraph that begins with ``\b``."""
    return f"\b\nExample:\n  {line}"
