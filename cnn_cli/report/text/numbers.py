"""Format numbers: percentages, times, and missing values."""

from __future__ import annotations

from math import isfinite

NOT_MEASURED = "–"


def number(value: float | None, digits: str = ".4f") -> str:
    """Format a number; a dash if it is missing."""
    return NOT_MEASURED if value is None or not isfinite(value) else format(value, digits)


def percent(fraction: float) -> str:
    """Return an integer percentage; 0 % and 100 % only for exactly these."""
    if 0 < fraction <= 0.005:
        return "<1%"
    return ">99%" if 0.995 <= fraction < 1 else f"{fraction:.0%}"


def time_text(seconds: float) -> str:
    """`1 h 02 min`, `3 min 20 s`, `12.3 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
