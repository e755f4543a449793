"""JSON as the standard has it: without NaN and infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


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
