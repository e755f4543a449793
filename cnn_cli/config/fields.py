"""Types of config values: what is allowed, and the sentence said where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

RULE = "rule"


class Frozen(BaseModel):
    """A part of the config: unknown keys are errors, and nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def broken(rule: str) -> PydanticCustomError:
    """The error that `rule` does not hold; `messages.py` prints it."""
    return PydanticCustomError(RULE, "{rule}", {"rule": rule})


def must(rule: str, of_list: str | None = None) -> WrapValidator:
    """Say `rule` for whatever is wrong with the value, `of_list` where it is a list."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            sentence = of_list if of_list and isinstance(value, list) else rule
            raise broken(f"must be {sentence}") from error

    return WrapValidator(check)


def with_type(default: str) -> Callable[[Any], Any]:
    """A word is the `type` of a mapping, and a mapping without one is of the default type."""

    def fill(value: Any) -> Any:
        value = {"type": value} if isinstance(value, str) else value
        return {"type": default} | value if isinstance(value, dict) else value

    return fill


def _twice(value: Any) -> Any:
    """One number stands for height and width."""
    return [value, value] if isinstance(value, int) and not isinstance(value, bool) else value


def once(value: Any) -> Any:
    """A pair of equal numbers is written as one number, anything else as it is."""
    match value:
        case (int(height), int(width)) if height == width:
            return height
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise broken("must be finite")
    return value


# A size that fits an index; what it costs in memory is for the plan to say.
_whole = Field(strict=True, ge=0, lt=2**31)
_positive = Field(strict=True, gt=0, lt=2**31)
_pair = (BeforeValidator(_twice), PlainSerializer(once))

Count = Annotated[int, _positive, must("a whole number above 0")]
Whole = Annotated[int, _whole, must("a whole number, 0 or more")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63), must("a whole number, 0 or more")]
Flag = Annotated[bool, Field(strict=True), must("true or false")]
Pair = Annotated[
    tuple[Annotated[int, _positive], Annotated[int, _positive]],
    *_pair,
    must("a whole number above 0", "two whole numbers above 0, [height, width]"),
]
PairOrZero = Annotated[
    tuple[Annotated[int, _whole], Annotated[int, _whole]],
    *_pair,
    must("a whole number, 0 or more", "two whole numbers, 0 or more, [height, width]"),
]


def _number(rule: str, **bounds: Any) -> Any:
    return Annotated[
        float,
        BeforeValidator(_finite),
        Field(strict=True, allow_inf_nan=False, **bounds),
        must(rule),
    ]


Above0 = _number("a number above 0", gt=0)
NotBelow0 = _number("a number, 0 or more", ge=0)
Number = _number("a finite number")
Share = _number("a number from 0 to 1", ge=0, le=1)
ShareBelow1 = _number("a number from 0 up to, but not, 1", ge=0, lt=1)
PartAbove0 = _number("a number above 0, up to 1", gt=0, le=1)
ShareToHalf = _number("a number from 0 to 0.5", ge=0, le=0.5)
Degrees = _number("a number of degrees from 0 to 180", ge=0, le=180)
