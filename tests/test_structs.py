from __future__ import annotations

import copy
import pickle
from functools import cached_property
from typing import Any

import pytest

from cnn_cli.structs import Struct, as_dict, replace


class Size(Struct):
    height: int
    width: int = 3

    @cached_property
    def area(self) -> int:
        return self.height * self.width


class Volume(Size):
    depth: int = 1


class Held(Struct, eq=False):
    values: list[int]


def test_fields_come_by_place_and_by_name() -> None:
    assert as_dict(Size(2)) == {"height": 2, "width": 3}
    assert as_dict(Size(width=1, height=2)) == {"height": 2, "width": 1}
    assert repr(Volume(2, depth=4)) == "Volume(height=2, width=3, depth=4)"


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"height": 1}), ((1,), {"depth": 1})]
)
def test_each_field_is_given_once(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match=r"^Size takes height, width, each once$"):
        Size(*args, **kwargs)


def test_a_struct_is_frozen() -> None:
    size: Any = Size(2)
    with pytest.raises(AttributeError, match=r"^Size is frozen: width cannot be set$"):
        size.width = 4
    with pytest.raises(AttributeError, match=r"^Size is frozen: width cannot be deleted$"):
        del size.width
    assert size == Size(2, 3)


def test_values_decide_on_equality_and_hash() -> None:
    size = Size(2)
    assert size.area == 6  # an attribute, not a field
    assert size == Size(2)
    assert hash(size) == hash(Size(2))
    assert size != Size(3)
    assert size != Volume(2)


def test_one_that_is_not_compared_equals_itself() -> None:
    held = Held([1])
    assert held == held  # noqa: PLR0124 - what is tested
    assert held != Held([1])
    assert {held: 1}[held] == 1


def test_replace_makes_another_one() -> None:
    size = Size(2)
    assert size.area == 6
    assert replace(size, width=5).area == 10
    assert size == Size(2)


def test_copies_and_pickles_are_equal() -> None:
    volume = Volume(2, depth=4)
    assert copy.deepcopy(volume) == volume
    assert pickle.loads(pickle.dumps(volume)) == volume
