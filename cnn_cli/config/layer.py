"""What the config's layers have in common: how they are written, and their names."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_serializer, model_validator

from cnn_cli.schema.fields import Frozen, Must, broken, once

LayerName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=100),
    Must("a name of letters, digits, '_' and '-'"),
]


class LayerConfig(Frozen):
    """What every layer may carry.

    Attributes:
        kind: its word in the config.
        name: stands for the layer wherever one is named; by default its path of positions.
    """

    kind: ClassVar[str]

    name: LayerName | None = None

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        """Turn the three ways of writing a layer into a mapping of arguments."""
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
        if self.name is None:
            del arguments["name"]
        return {self.kind: arguments}

    @classmethod
    def first_argument(cls) -> str | None:
        """The argument that a lone value stands for."""
        return next((field for field in cls.model_fields if field != "name"), None)

    @classmethod
    def also_written(cls, schema: dict[str, Any]) -> list[dict[str, Any]]:
        first, required = cls.first_argument(), set(schema.get("required", ()))
        lone = [schema["properties"][first]] if first and required <= {first} else []
        return lone if required else [*lone, {"type": "null"}]

    def arguments(self) -> dict[str, Any]:
        """What the layer's class takes, apart from the input's shape."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "name"}
