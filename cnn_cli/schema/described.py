"""Descriptions of config keys, read from the `Attributes` of docstrings."""

from __future__ import annotations

import re
from typing import Any

from cnn_cli.docstrings import docstring

_HEADING = "\n\nAttributes:\n"
_ARGUMENTS = re.compile(r"\n\nArgs:\n(.*?)(?=\n\n\w|\Z)", re.DOTALL)
_SECTION = re.compile(r"\n\n(?:Args|Attributes|Raises):\n")
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n     .*)*)", re.MULTILINE)


def summary(model: type) -> str:
    """Return what a model is, without its attributes, one paragraph per line."""
    text = docstring(model).partition(_HEADING)[0]
    return "\n".join(_one_line(paragraph) for paragraph in text.split("\n\n"))


def attributes(model: type) -> dict[str, str]:
    """Return the description of each key; a model's own descriptions override inherited ones."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        for names, text in _ENTRY.findall(docstring(owner).partition(_HEADING)[2]):
            found |= dict.fromkeys(names.split(", "), _one_line(text))
    return found


def document(layer: type) -> str:
    """Build the docstring of a model for `layer` from the layer's own: arguments become attributes.

    A class's own descriptions override inherited ones.
    """
    found: dict[str, str] = {}
    for owner in reversed(layer.__mro__):
        for section in _ARGUMENTS.findall(docstring(owner)):
            for names, text in _ENTRY.findall(section):
                found |= dict.fromkeys(names.split(", "), text)
    entries = "\n".join(f"    {name}: {text}" for name, text in found.items())
    return _SECTION.split(docstring(layer))[0] + (f"{_HEADING}{entries}" if entries else "")


def describe(model: type, schema: dict[str, Any]) -> None:
    """Add the descriptions to a model's JSON Schema."""
    schema.pop("title", None)
    schema["description"] = summary(model)
    texts = attributes(model)
    for key, value in schema.get("properties", {}).items():
        if key in texts:
            value["description"] = texts[key]


def _one_line(text: str) -> str:
    return " ".join(text.split())
