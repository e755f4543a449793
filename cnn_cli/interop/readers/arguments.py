"""What a foreign operator may say, and what becomes of it: every argument is honoured or refused.

A reader has a table: by operator, by argument, what it does with it. What the table does not name
is refused, so that a later version's argument cannot pass unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import isclose
from typing import Any

from cnn_cli.errors import DataError, listed


class Rule(Enum):
    """What is done with an argument of any value."""

    READ = "read"
    """The reader makes something of it, or refuses values that it cannot."""
    IDLE = "idle"
    """It does not change the scores of a trained network."""


READ, IDLE = Rule.READ, Rule.IDLE


@dataclass(frozen=True, slots=True)
class Only:
    """An argument that may have one of some values; others are refused."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    def allows(self, value: Any) -> bool:
        """Whether it is one of the values; files keep numbers in float32."""
        return any(_same(value, each) for each in self.values)


Arguments = Mapping[str, Rule | Only]
Table = Mapping[str, Arguments]


def check_arguments(
    place: object, name: str, word: str, given: Mapping[str, Any], table: Arguments
) -> None:
    """Refuse what would not be honoured.

    Args:
        place: the file.
        name: of the operator, in it.
        word: what it is.
        given: its arguments.
        table: what is done with each.

    Raises:
        DataError: an argument is not known, or has a value that is not read.
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
