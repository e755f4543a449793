"""Constraints without pydantic accept what pydantic accepts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from cnn_cli.schema import constraints
from cnn_cli.schema.constraints import Must, PairOrZero, accepts, from_plain, is_constrained

NUMBERS: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 2**31 - 1, 2**31, 2**63, True, False, None, "1", "classes", "same"),
    *(-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 90.0, 180.0, 180.5, 1e308),
    *(float("inf"), float("-inf"), float("nan")),
)
PAIRS: tuple[Any, ...] = ((0, 0), (1, 1), (1, 0), (-1, 1), (1, 2, 3), (1.0, 1), (True, 1), ())
NAMES = [name for name, hint in vars(constraints).items() if is_constrained(hint)]


def pydantic_accepts(hint: Any, value: Any) -> bool:
    try:
        TypeAdapter(hint).validate_python(value)
    except ValidationError:
        return False
    return True


def test_there_are_constraints() -> None:
    assert {"Count", "Pair", "Flag", "Share", "Features"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_both_accept_the_same(name: str) -> None:
    hint = getattr(constraints, name)
    values = PAIRS if "Pair" in name else NUMBERS
    if name == "Features":  # `classes` is a number when a layer receives it
        values = tuple(value for value in values if value != "classes")
    for value in values:
        assert accepts(hint, value) == pydantic_accepts(hint, value), value


def test_choices() -> None:
    padding = Annotated[PairOrZero | Literal["same"] | None, Must("two numbers or same")]
    assert is_constrained(padding)
    assert all(accepts(padding, value) for value in ("same", (0, 1), None))
    assert not any(accepts(padding, value) for value in ("valid", (0, -1), 1, True, 0))


def test_a_type_without_a_constraint_is_a_mistake() -> None:
    assert not is_constrained(int)
    with pytest.raises(TypeError, match="says nothing"):
        accepts(int, 1)


def test_lists_become_tuples() -> None:
    assert from_plain([[1, 2], {"a": [3]}, "x"]) == ((1, 2), {"a": (3,)}, "x")
