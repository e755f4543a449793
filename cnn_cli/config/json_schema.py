"""The JSON Schema of the config, for completion and checks in editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from cnn_cli.config.include import INCLUDE
from cnn_cli.config.layers import LAYER_KINDS
from cnn_cli.config.networks import network_names
from cnn_cli.config.templates import DEFINE, NETWORK
from cnn_cli.config.whole import Config
from cnn_cli.schema.fields import once

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LAYER = {"$ref": "#/$defs/Layer"}
_PARTIAL = "OfIncluding"  # ends the names of parts whose keys may all be missing
_WHOLE = {"Layer", "LayerOrCall", *(model.__name__ for model in LAYER_KINDS.values())}
# After a function validator, pydantic leaves bounds under their Python names.
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `load_config` reads.

    It contains every key with its type, bounds, default and description, in all forms. Rules across
    keys and between layers are checked only by `load_config`.
    """
    schema = Config.model_json_schema(schema_generator=_Generator)
    parts, sections = schema.pop("$defs"), schema["properties"]
    for key in sections.keys() - set(schema["required"]):
        text = sections[key].pop("description")
        sections[key] = {"description": text, "anyOf": [sections[key], {"type": "null"}]}
    whole = {"$schema": DIALECT, "title": "A config of cnn", **schema, "$defs": parts}
    parts["Layer"] = _layer(parts)
    _add_templates(sections, parts)
    tidied: dict[str, Any] = _tidy(whole)
    _add_include(tidied)
    return tidied


def _layer(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a layer: a name, or a mapping of one name to its entry in `parts`."""
    names, arguments = [], {}
    for kind, model in LAYER_KINDS.items():
        arguments[kind] = {"$ref": f"#/$defs/{model.__name__}"}
        part = parts[model.__name__]
        if {"type": "null"} in part.get("anyOf", ()):
            names.append({"const": kind, "description": part["description"]})
    mapping = {
        "type": "object",
        "properties": arguments,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }
    return {
        "description": "A layer: its name, or its name with arguments.",
        "anyOf": [*names, mapping],
    }


def _add_templates(sections: dict[str, Any], parts: dict[str, Any]) -> None:
    """Add what is expanded before a config is checked. A schema cannot know the names of a config's
    own blocks, so with `define` a layer may have any name.
    """
    parts["LayerOrCall"] = {
        "description": "A layer, or a block of `define` with its arguments.",
        "anyOf": [LAYER, {"type": "string"}, {"type": "object", "maxProperties": 1}],
    }
    names = {"enum": list(network_names())}
    value = {"type": ["string", "number", "boolean", "null"]}
    calls = {"type": "array", "items": {"$ref": "#/$defs/LayerOrCall"}, "minItems": 1}
    model, repeat = parts["ModelConfig"], parts["RepeatConfig"]
    layers = model["properties"]["layers"]
    model["properties"] |= {
        "layers": {key: layers[key] for key in ("description", "type", "minItems")},
        NETWORK: {
            "description": "instead of layers: a network that `cnn networks` lists.",
            "anyOf": [
                names,
                {
                    "type": "object",
                    "properties": {"name": {"description": "of the network.", **names}},
                    "required": ["name"],
                    "additionalProperties": value,
                },
                {"type": "null"},
            ],
        },
        DEFINE: {
            "description": "blocks and values by name, for the layers; see the page networks.",
            "type": ["object", "null"],
            "additionalProperties": {"anyOf": [calls, value]},
        },
    }
    del model["required"]
    model["oneOf"] = [{"required": ["layers"]}, {"required": [NETWORK]}]
    model["if"] = {"required": [DEFINE]}
    model["then"] = {"properties": {"layers": _described(calls, layers)}}
    model["else"] = {"properties": {"layers": layers}}
    index = repeat["properties"].pop("index")
    times, copies = repeat["properties"]["times"], repeat["properties"]["layers"]
    copied = {
        "times": _described({"anyOf": [times, value]}, times),
        "index": index,
        "layers": _described(calls, copies),
    }
    parts["RepeatConfig"] = {
        "description": repeat.pop("description"),
        "anyOf": [
            repeat,
            {
                "type": "object",
                "properties": copied,
                "required": list(copied),
                "additionalProperties": False,
            },
        ],
    }


def _add_include(whole: dict[str, Any]) -> None:
    """Add `include`. A file that includes another one may lack any key of the merged sections, and
    may call the other file's blocks; a list of layers replaces the other file's list.
    """
    parts, sections = whole["$defs"], whole["properties"]
    copies: dict[str, Any] = {}
    merged = {key: _partial(section, parts, copies) for key, section in sections.items()}
    model = copies[f"ModelConfig{_PARTIAL}"]
    for key in ("oneOf", "if", "then", "else"):
        del model[key]
    model["properties"] |= parts["ModelConfig"]["then"]["properties"]  # as with `define`
    model["not"] = {"required": ["layers", NETWORK]}
    parts |= copies
    included = {
        "description": "another config, relative to this one, that this one is laid over.",
        "type": "string",
        "minLength": 1,
    }
    whole["if"] = {"required": [INCLUDE], "properties": {INCLUDE: included}}
    whole["then"] = {"properties": merged}
    whole["else"] = {"properties": sections, "required": whole.pop("required")}
    whole["properties"] = {key: _described({}, section) for key, section in sections.items()}
    whole["properties"][INCLUDE] = _described({"anyOf": [included, {"type": "null"}]}, included)


def _partial(node: Any, parts: dict[str, Any], copies: dict[str, Any]) -> Any:
    """Return a copy of a schema that requires no key, and add copies of the parts that it refers
    to; layers are not copied.
    """
    if isinstance(node, list):
        return [_partial(child, parts, copies) for child in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _partial(value, parts, copies) for key, value in node.items() if key != "required"}
    name = copy.get("$ref", "").rpartition("/")[2]
    if name and name not in _WHOLE:
        copy["$ref"] += _PARTIAL
        if f"{name}{_PARTIAL}" not in copies:
            copies[f"{name}{_PARTIAL}"] = _partial(parts[name], parts, copies)
    return copy


def _described(schema: dict[str, Any], as_that: dict[str, Any]) -> dict[str, Any]:
    return {"description": as_that["description"]} | schema


def _tidy(node: Any) -> Any:
    """Define a layer once, use JSON Schema's names for bounds, and drop defaults that are whole
    sections.
    """
    if isinstance(node, list):
        return [_tidy(child) for child in node]
    if not isinstance(node, dict):
        return node
    if {"$ref": "#/$defs/ConvConfig"} in node.get("oneOf", ()):
        return {key: value for key, value in node.items() if key != "oneOf"} | LAYER
    return {
        _BOUNDS.get(key, key): _tidy(value)
        for key, value in node.items()
        if not (key == "default" and isinstance(value, dict))
    }


class _Generator(GenerateJsonSchema):
    """pydantic's schemas, with additions for the config's YAML."""

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        """`none` is null for the loader, and a word for an editor."""
        return {"anyOf": [*super().nullable_schema(schema)["anyOf"], {"const": "none"}]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(once(dft))
