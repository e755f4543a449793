"""JSON as the standard has it: without NaN and infinity; and documents that are not trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MOST_LEVELS = 100  # a config has 60 of them


class DeepNestingError(ValueError):
    """A document has more levels than what reads it level by level, recursively, could bear."""


def loads(text: str | bytes) -> Any:
    """The value of a document that anyone may have written.

    Raises:
        ValueError: it is no JSON.
        DeepNestingError: it has more than `MOST_LEVELS` levels.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise DeepNestingError(f"more than {MOST_LEVELS} levels") from error
    level = [value]
    for _ in range(MOST_LEVELS):
        children = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for some in children for child in some if isinstance(child, dict | list)]
        if not level:
            return value
    raise DeepNestingError(f"more than {MOST_LEVELS} levels")


def dumps(value: Any) -> str:
    """`value` on one line, ASCII whatever the names in it hold.

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
