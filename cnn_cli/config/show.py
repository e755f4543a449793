"""Format a value for an error."""

from __future__ import annotations

from typing import Any


def show(value: Any, limit: int = 60) -> str:
    """Return a value as in a config, truncated if it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
