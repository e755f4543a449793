"""Types of config values: what is allowed, and the sentence said where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import PydanticCustomError, core_schema

from cnn_cli.schema.described import describe

RULE = "rule"


class Frozen(BaseModel):
    """A part of the config: unknown keys are errors, and nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """For `schema.py`: the texts of the docstring, and what else may be written."""
        reference: dict[str, Any] = handler(core)
        schema = handler.resolve_ref_schema(reference)
        describe(cls, schema)
        other = cls.also_written(schema)
        if other:
            mapping = schema | {}
            schema.clear()
            schema.update({"description": mapping.pop("description"), "anyOf": [mapping, *other]})
        return reference

    @classmethod
    def also_written(cls, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """JSON Schemas of what stands for a mapping; `schema` is that of the mapping."""
        return []


def broken(rule: str) -> PydanticCustomError:
    """The error that `rule` does not hold; `messages.py` prints it."""
    return PydanticCustomError(RULE, "{rule}", {"rule": rule})


@dataclass(frozen=True, slots=True)
class Must:
    """Says `rule` for whatever is wrong with the value, `of_list` where it is a list."""

    rule: str
    of_list: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        def check(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
            try:
                return inner(value)
            except ValidationError as error:
                is_list = self.of_list and isinstance(value, list)
                raise broken(f"must be {self.of_list if is_list else self.rule}") from error

        return core_schema.no_info_wrap_validator_function(check, handler(source))


@dataclass(frozen=True, slots=True)
class Also:
    """Another way of writing a value, which `function` turns into the first one.

    Attributes:
        function: takes whatever was written, and leaves alone what it does not know.
        form: from the JSON Schema of the first way to that of the other one.
    """

    function: Callable[[Any], Any]
    form: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.function, handler(source))

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core)
        return {"anyOf": [schema, self.form(schema)]}


@dataclass(frozen=True, slots=True)
class WithType:
    """A word is the `type` of a mapping, and a mapping without one is of the default type."""

    default: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        def fill(value: Any) -> Any:
            value = {"type": value} if isinstance(value, str) else value
            return {"type": self.default} | value if isinstance(value, dict) else value

        return core_schema.no_info_before_validator_function(fill, handler(source))

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        union = handler(core)
        words = []
        for word, reference in union["discriminator"]["mapping"].items():
            model = handler.resolve_ref_schema({"$ref": reference})
            required = set(model.get("required", ())) - {"type"}
            if not required:
                words.append(word)
            if word != self.default:
                model["required"] = ["type", *sorted(required)]
        return {"anyOf": [*union["oneOf"], {"enum": words}]}


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
_pair = (Also(_twice, lambda pair: pair["prefixItems"][0]), PlainSerializer(once))

Count = Annotated[int, _positive, Must("a whole number above 0")]
Whole = Annotated[int, _whole, Must("a whole number, 0 or more")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63), Must("a whole number, 0 or more")]
Flag = Annotated[bool, Field(strict=True), Must("true or false")]
Pair = Annotated[
    tuple[Annotated[int, _positive], Annotated[int, _positive]],
    *_pair,
    Must("a whole number above 0", "two whole numbers above 0, [height, width]"),
]
PairOrZero = Annotated[
    tuple[Annotated[int, _whole], Annotated[int, _whole]],
    *_pair,
    Must("a whole number, 0 or more", "two whole numbers, 0 or more, [height, width]"),
]


def _number(rule: str, **bounds: Any) -> Any:
    return Annotated[
        float,
        BeforeValidator(_finite),
        Field(strict=True, allow_inf_nan=False, **bounds),
        Must(rule),
    ]


Above0 = _number("a number above 0", gt=0)
NotBelow0 = _number("a number, 0 or more", ge=0)
Number = _number("a finite number")
Share = _number("a number from 0 to 1", ge=0, le=1)
ShareBelow1 = _number("a number from 0 up to, but not, 1", ge=0, lt=1)
PartAbove0 = _number("a number above 0, up to 1", gt=0, le=1)
ShareToHalf = _number("a number from 0 to 0.5", ge=0, le=0.5)
Degrees = _number("a number of degrees from 0 to 180", ge=0, le=180)
