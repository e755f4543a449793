"""Standard JSON, without NaN and infinity, and safe parsing of untrusted documents."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MOST_LEVELS = 100  # a config needs 60


class DeepNestingError(ValueError):
    """A document is nested too deeply for recursive readers."""


def loads(text: str | bytes) -> Any:
    """Parse an untrusted document.

    Raises:
        ValueError: it is not JSON.
        DeepNestingError: it has more than `MOST_LEVELS` levels.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise DeepNestingError(f"more than {MOST_LEVELS} levels") from error
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_LEVELS):
        children = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for some in children for child in some if isinstance(child, dict | list)]
        if not level:
            return value
    raise DeepNestingError(f"more than {MOST_LEVELS} levels")


def dumps(value: Any) -> str:
    """Serialize `value` to one line of ASCII, whatever its names contain.

    Numbers that are not finite become null.
    """
    return json.dumps(_finite_or_none(value), allow_nan=False)


def _finite_or_none(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {key: _finite_or_none(child) for key, child in value.items()}
        case list() | tuple():
            return [_finite_or_none(child) for child in value]
    return value
