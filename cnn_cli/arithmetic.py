"""Integer arithmetic missing from the standard library."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up, exactly; b must be positive."""
    return -(-a // b)
