"""Arithmetic of whole numbers that the standard library has no name for."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up, exactly; b above 0."""
    return -(-a // b)
