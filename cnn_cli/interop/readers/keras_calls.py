"""The call arguments of a layer in a Keras network, in the formats of Keras 1, 2 and 3."""

from __future__ import annotations

from typing import Any


def call_arguments(node: Any) -> list[Any]:
    """Return a layer's call arguments: layer names, numbers, and keyword arguments.

    Keras 1 and 2 list `[name, node, tensor, {}]`; Keras 3 has mappings of tensors anywhere in lists
    of arguments.
    """
    if isinstance(node, list) and node and all(_is_source(part) for part in node):
        return [found for source in node for found in _source(source)]
    if isinstance(node, list) and _is_source(node):
        return _source(node)
    if isinstance(node, dict) and "args" in node:
        given = [found for part in node["args"] for found in _tensors(part)]
        kwargs = dict(node.get("kwargs") or {})
        return [*given, kwargs]
    raise ValueError("inbound_nodes of a form that is not known")


def _source(source: list[Any]) -> list[Any]:
    """Return the layer in Keras 2's format, and further arguments: `y` of arithmetic."""
    given = dict(source[3]) if len(source) > 3 else {}
    found = [source[0]]
    if "y" in given:
        other = given.pop("y")
        found.append(other[0] if _is_source(other) else other)
    return [*found, given]


def _tensors(part: Any) -> list[Any]:
    if isinstance(part, list):
        return [found for each in part for found in _tensors(each)]
    if isinstance(part, dict) and part.get("class_name") == "__keras_tensor__":
        return [part["config"]["keras_history"][0]]
    if isinstance(part, int | float) and not isinstance(part, bool):
        return [part]
    raise ValueError("an argument of a layer that is not known")


def _is_source(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 3 and isinstance(part[0], str)
