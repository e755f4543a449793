"""Layers in a config: their forms, and pydantic models of their arguments."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, model_serializer, model_validator

from cnn_cli.nn.layers.base import REQUIRED, ShapeError, Written
from cnn_cli.schema.described import document
from cnn_cli.schema.fields import Frozen, Must, broken, once

LayerName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=100),
    Must("a name of letters, digits, '_' and '-'"),
]


class LayerConfig(Frozen):
    """What every layer may have.

    Attributes:
        kind: its name in the config.
        written: the class that it creates.
        left_out: arguments that are omitted when None.
        name: name of the layer, for references; by default its path of positions.
    """

    kind: ClassVar[str]
    written: ClassVar[type[Written]] = Written
    left_out: ClassVar[tuple[str, ...]] = ("name",)

    name: LayerName | None = None

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        """Convert the three forms of a layer to a mapping of arguments."""
        if isinstance(value, str):
            return {}
        if not (isinstance(value, dict) and list(value) == [cls.kind]):
            return value
        arguments = value[cls.kind]
        if arguments is None:
            return {}
        if isinstance(arguments, dict):
            return arguments
        first = cls.first_argument()
        if first is None:
            raise broken("takes no argument but name")
        return {first: arguments}

    @model_serializer(mode="plain")
    def _wrap(self) -> dict[str, Any]:
        arguments = {key: once(getattr(self, key)) for key in type(self).model_fields}
        for key in self.left_out:
            if arguments[key] is None:
                del arguments[key]
        return {self.kind: arguments}

    @classmethod
    def first_argument(cls) -> str | None:
        """Return the argument for which a single value stands."""
        return next((field for field in cls.model_fields if field != "name"), None)

    @classmethod
    def also_written(cls, schema: dict[str, Any]) -> list[dict[str, Any]]:
        first, required = cls.first_argument(), set(schema.get("required", ()))
        lone = [schema["properties"][first]] if first and required <= {first} else []
        return lone if required else [*lone, {"type": "null"}]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the layer's class, without the input's shape, as plain values."""
        fields = (key for key in type(self).model_fields if key != "name")
        return self.written.complete({key: _plain(getattr(self, key)) for key in fields})

    @model_validator(mode="after")
    def _complete(self) -> LayerConfig:
        try:
            self.arguments()
        except ShapeError as error:
            raise broken(str(error)) from error
        return self


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def layer_model(written: type[Written]) -> type[LayerConfig]:
    """Create the model of a layer's arguments from its signature and docstring."""
    arguments = written.arguments()
    namespace: dict[str, Any] = {
        "kind": written.kind,
        "written": written,
        "__doc__": document(written),
        "__module__": __name__,
        "__annotations__": {name: argument.type for name, argument in arguments.items()},
    }
    for name, argument in arguments.items():
        if argument.default is not REQUIRED:
            namespace[name] = argument.default
    metaclass: Any = type(LayerConfig)
    model: type[LayerConfig] = metaclass(f"{written.__name__}Config", (LayerConfig,), namespace)
    return model
