"""What a layer of a Keras network is called with, in the forms of Keras 1, 2 and 3."""

from __future__ import annotations

from typing import Any


def call_arguments(node: Any) -> list[Any]:
    """What a layer is called with: names of layers, numbers, and what is given by name.

    Keras 1 and 2 list `[name, node, tensor, {}]`; Keras 3 has mappings of tensors anywhere in
    lists of arguments.
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
    """The layer of Keras 2's form, and what stands beside it: `y` of arithmetic."""
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
