"""pydantic types of config values: their constraints and messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

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

from cnn_cli.metric_names import PATTERN, VALIDATION, nearest
from cnn_cli.schema.constraints import (
    Above0,
    Bounds,
    Constraint,
    Count,
    CountOrClasses,
    Degrees,
    Flag,
    FourSides,
    HeightAndWidth,
    MetricName,
    Model,
    Monitor,
    Must,
    NotBelow0,
    Number,
    Pair,
    PairOrZero,
    PartAbove0,
    Seed,
    Share,
    ShareBelow1,
    ShareToHalf,
    TrueOrFalse,
    Whole,
)
from cnn_cli.schema.described import describe

__all__ = [
    "Above0",
    "Also",
    "Choice",
    "Count",
    "Degrees",
    "Flag",
    "Frozen",
    "Monitor",
    "Must",
    "NotBelow0",
    "Number",
    "OneOf",
    "Pair",
    "PairOrZero",
    "PartAbove0",
    "Seed",
    "Share",
    "ShareBelow1",
    "ShareToHalf",
    "Whole",
    "broken",
    "choices",
    "once",
]

RULE = "rule"


class Frozen(BaseModel):
    """Base class of config sections: unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """For `config.json_schema`: add the descriptions, and the other forms of the value."""
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
        """Return JSON Schemas of alternatives to a mapping; `schema` is that of the mapping."""
        return []


def broken(rule: str) -> PydanticCustomError:
    """Return the error that `rule` is broken; `config.messages` formats it."""
    return PydanticCustomError(RULE, "{rule}", {"rule": rule})


def ruled(must: Must, inner: core_schema.CoreSchema) -> core_schema.CoreSchema:
    """Return a schema that accepts what `inner` accepts and reports the rule of `must`
    otherwise.
    """

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            is_list = must.of_list and isinstance(value, list)
            raise broken(f"must be {must.of_list if is_list else must.rule}") from error

    return core_schema.no_info_wrap_validator_function(check, inner)


@dataclass(frozen=True, slots=True)
class Also:
    """An alternative form of a value, which `function` converts to the main form.

    Attributes:
        function: receives the value as written, and returns unknown forms unchanged.
        form: maps the JSON Schema of the main form to that of the alternative.
    """

    function: Callable[[Any], Any]
    form: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.function, handler(source))

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core)
        return {"anyOf": [schema, self.form(schema)]}


class Choice(Frozen):
    """One of several models for the same key, selected by the word in its key `type`.

    A subclass with a `type` is registered automatically: see `choices`.

    Attributes:
        listed: position in lists of choices, smallest first.
    """

    listed: ClassVar[int] = 0

    if TYPE_CHECKING:  # each has it as a Literal, with its own order of keys
        type: str


AChoice = TypeVar("AChoice", bound=Choice)


def choices(base: type[AChoice]) -> dict[str, type[AChoice]]:
    """Return the subclasses with a `type`, by that word, from imported modules."""
    found = {}
    todo = [base]
    while todo:
        model = todo.pop(0)
        todo += model.__subclasses__()
        if "type" in model.model_fields:
            found[model.model_fields["type"].default] = model
    return dict(sorted(found.items(), key=lambda item: item[1].listed))


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any registered subclass of the annotated type.

    A word is the `type` of a mapping, and a mapping without a type has the default type.
    """

    default: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        models: Any = reduce(or_, choices(source).values())
        union = handler.generate_schema(Annotated[models, Field(discriminator="type")])

        def fill(value: Any) -> Any:
            value = {"type": value} if isinstance(value, str) else value
            return {"type": self.default} | value if isinstance(value, dict) else value

        return core_schema.no_info_before_validator_function(fill, union)

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
    """Duplicate one number for height and width."""
    return [value, value] if isinstance(value, int) and not isinstance(value, bool) else value


def once(value: Any) -> Any:
    """Write a pair of equal numbers as one number; return anything else unchanged."""
    match value:
        case (int(height), int(width)) if height == width:
            return height
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise broken("must be finite")
    return value


def _metric(value: Any) -> str:
    if not MetricName().accepts(value):
        hint = nearest(value.removeprefix(VALIDATION)) if isinstance(value, str) else ""
        raise broken(f"must be {MetricName().rule}.{hint}")
    return str(value.removeprefix(VALIDATION))


_METRIC = (BeforeValidator(_metric), Field(json_schema_extra={"pattern": PATTERN}))


def pydantic_type(constraint: Constraint) -> Any:  # noqa: PLR0911 - a case a kind
    """Return a type with which pydantic checks a constraint and reports its rule."""
    match constraint:
        case Bounds(rule):
            return Annotated[_bounded(constraint), Must(rule)]
        case HeightAndWidth(each, of_list):
            number: Any = _bounded(each)
            forms = (Also(_twice, lambda pair: pair["prefixItems"][0]), PlainSerializer(once))
            return Annotated[tuple[number, number], *forms, Must(each.rule, of_list)]
        case FourSides(each):
            side: Any = _bounded(each)
            return tuple[side, side, side, side]
        case TrueOrFalse(rule):
            return Annotated[bool, Field(strict=True), Must(rule)]
        case CountOrClasses(rule):
            return Annotated[Count | Literal["classes"], Must(rule)]
        case MetricName():
            return Annotated[str, *_METRIC]
        case Model(type=path):
            module, _, name = path.partition(":")
            return getattr(import_module(module), name)
    raise TypeError(f"no pydantic type for {constraint}")


def _bounded(bounds: Bounds) -> Any:
    if bounds.whole:
        return Annotated[int, Field(strict=True, **bounds.limits)]
    number = Field(strict=True, allow_inf_nan=False, **bounds.limits)
    return Annotated[float, BeforeValidator(_finite), number]
