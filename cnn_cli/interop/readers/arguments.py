"""Tables of a foreign operator's arguments: each argument is used or refused.

A reader has a table by operator and argument. Arguments outside the table are refused, so that a
newer version's argument is never ignored silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import isclose
from typing import Any

from cnn_cli.errors import DataError, listed


class Rule(Enum):
    """What to do with an argument, whatever its value."""

    READ = "read"
    """The reader uses it, or refuses unsupported values."""
    IDLE = "idle"
    """It does not change the scores of a trained network."""


READ, IDLE = Rule.READ, Rule.IDLE


@dataclass(frozen=True, slots=True)
class Only:
    """An argument with a few supported values; others are refused."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    def allows(self, value: Any) -> bool:
        """Whether a value is supported; files store numbers in float32."""
        return any(_same(value, each) for each in self.values)


Arguments = Mapping[str, Rule | Only]
Table = Mapping[str, Arguments]


def check_arguments(
    place: object, name: str, word: str, given: Mapping[str, Any], table: Arguments
) -> None:
    """Refuse arguments that would be ignored.

    Args:
        place: the file.
        name: name of the operator in it.
        word: type of the operator.
        given: its arguments.
        table: what to do with each.

    Raises:
        DataError: an argument is unknown, or has an unsupported value.
    """
    for key, value in given.items():
        rule = table.get(key)
        if rule is None:
            raise DataError(place, f"{name} ({word}) has an argument that is not known", key)
        if isinstance(rule, Only) and not rule.allows(value):
            values = listed([str(each) for each in rule.values], last=" or ")
            raise DataError(place, f"{key} of {name} ({word}) must be {values}", value)


def _same(one: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(other, numbers):
        return isclose(one, other, rel_tol=1e-6)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
