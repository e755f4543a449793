"""Constraints as data: types with bounds, and the rule that a message states.

Layers annotate their arguments with these. `schema.fields` converts them to pydantic types for the
config. `accepts` checks values without pydantic, when prediction reads the network in a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cnn_cli.metric_names import VALIDATION, find_metric
from cnn_cli.structs import Struct


class Constraint:
    """A constraint in `Annotated`; pydantic gets its form from `schema.fields`.

    Attributes:
        rule: what a value must be, in words.
        of_list: the same for a list; None if it makes no difference.
    """

    __slots__ = ()
    rule: str
    of_list: str | None

    def accepts(self, value: Any) -> bool:
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from cnn_cli.schema.fields import pydantic_type

        return handler.generate_schema(pydantic_type(self))


class Bounds(Struct, Constraint):
    """A finite number.

    Attributes:
        whole: an integer.
        ge, gt, le, lt: bounds, as pydantic names them.
    """

    rule: str
    whole: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    of_list: None = None

    @property
    def limits(self) -> dict[str, Any]:
        """The bounds that are set, by name."""
        named = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}
        return {name: limit for name, limit in named.items() if limit is not None}

    def accepts(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return math.isfinite(value) and not (
            (self.ge is not None and value < self.ge)
            or (self.gt is not None and value <= self.gt)
            or (self.le is not None and value > self.le)
            or (self.lt is not None and value >= self.lt)
        )


class HeightAndWidth(Struct, Constraint):
    """Two numbers; in a config, one number stands for both.

    Attributes:
        each: the constraint of both.
    """

    each: Bounds
    of_list: str

    @property
    def rule(self) -> str:  # type: ignore[override]  # read only, like a frozen field
        return self.each.rule

    def accepts(self, value: Any) -> bool:
        return isinstance(value, tuple) and len(value) == 2 and all(map(self.each.accepts, value))


class FourSides(Struct, Constraint):
    """Rows and columns on each side of a map.

    Attributes:
        each: what all four must be.
    """

    each: Bounds
    rule: str = "four, [top, bottom, left, right]"
    of_list: None = None

    def accepts(self, value: Any) -> bool:
        return isinstance(value, tuple) and len(value) == 4 and all(map(self.each.accepts, value))


class TrueOrFalse(Struct, Constraint):
    rule: str = "true or false"
    of_list: None = None

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)


class CountOrClasses(Struct, Constraint):
    """An integer above 0; in a config also `classes`, the number of classes."""

    rule: str = "a whole number above 0, or 'classes'"
    of_list: None = None

    def accepts(self, value: Any) -> bool:
        return COUNT.accepts(value)


class Model(Struct, Constraint):
    """A pydantic model that is imported only when a config is read.

    Attributes:
        type: its module and name, `module:name`.
        check: the check for plain values, without pydantic.
    """

    rule: str
    type: str
    check: Callable[[Any], bool]
    of_list: None = None

    def accepts(self, value: Any) -> bool:
        return self.check(value)


class MetricName(Struct, Constraint):
    """A metric of the validation images, by its name, optionally with the prefix `val_`."""

    rule: str = "a metric, as top1, loss, macro_f1 or recall:CLASS"
    of_list: None = None

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and find_metric(value.removeprefix(VALIDATION)) is not None


class Must(Struct, Constraint):
    """Reports `rule` for any invalid value, `of_list` if it is a list.

    The annotated type decides what is invalid.
    """

    rule: str
    of_list: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from cnn_cli.schema.fields import ruled

        return ruled(self, handler(source))


COUNT = Bounds("a whole number above 0", whole=True, gt=0, lt=2**31)
WHOLE = Bounds("a whole number, 0 or more", whole=True, ge=0, lt=2**31)
SIGNED = Bounds("a whole number", whole=True, gt=-(2**31), lt=2**31)

# Integers fit an index; the memory plan judges their cost.
Count = Annotated[int, COUNT]
Whole = Annotated[int, WHOLE]
Seed = Annotated[int, Bounds("a whole number, 0 or more", whole=True, ge=0, lt=2**63)]
Flag = Annotated[bool, TrueOrFalse()]
Pair = Annotated[
    tuple[int, int], HeightAndWidth(COUNT, "two whole numbers above 0, [height, width]")
]
PairOrZero = Annotated[
    tuple[int, int], HeightAndWidth(WHOLE, "two whole numbers, 0 or more, [height, width]")
]
SignedPair = Annotated[
    tuple[int, int], HeightAndWidth(SIGNED, "two whole numbers, [height, width]")
]
Sides = Annotated[tuple[int, int, int, int], FourSides(WHOLE)]
SignedSides = Annotated[tuple[int, int, int, int], FourSides(SIGNED)]
Features = Annotated[int, CountOrClasses()]
Above0 = Annotated[float, Bounds("a number above 0", gt=0)]
NotBelow0 = Annotated[float, Bounds("a number, 0 or more", ge=0)]
Number = Annotated[float, Bounds("a finite number")]
Share = Annotated[float, Bounds("a number from 0 to 1", ge=0, le=1)]
ShareBelow1 = Annotated[float, Bounds("a number, 0 or more and below 1", ge=0, lt=1)]
PartAbove0 = Annotated[float, Bounds("a number above 0, up to 1", gt=0, le=1)]
ShareToHalf = Annotated[float, Bounds("a number from 0 to 0.5", ge=0, le=0.5)]
Monitor = Annotated[str, MetricName()]
Degrees = Annotated[float, Bounds("a number of degrees from 0 to 180", ge=0, le=180)]


def is_constrained(hint: Any) -> bool:
    """Whether a type, or an alternative of it, has a constraint."""
    if get_origin(hint) in (Union, UnionType):
        return any(map(is_constrained, get_args(hint)))
    return get_origin(hint) is Annotated and any(
        isinstance(each, Constraint) for each in hint.__metadata__
    )


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value conforms to an annotated type: a number, a text, a tuple, or a union of
    them.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        for each in hint.__metadata__:
            if isinstance(each, Constraint) and not isinstance(each, Must):
                return each.accepts(value)
        return accepts(get_args(hint)[0], value)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(hint))
    if origin in (Union, UnionType):
        return any(accepts(each, value) for each in get_args(hint))
    if hint in (None, NoneType):
        return value is None
    raise TypeError(f"{hint} says nothing about its values")


def from_plain(value: Any) -> Any:
    """Convert a JSON value to the form that layers take: lists become tuples."""
    if isinstance(value, list):
        return tuple(from_plain(each) for each in value)
    if isinstance(value, Mapping):
        return {key: from_plain(each) for key, each in value.items()}
    return value
