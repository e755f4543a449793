"""The pieces of a derived network: layers, with the file's arrays for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnn_cli.interop.foreign import Module

# How branches are combined, by the op that joins them.
COMBINE: dict[str, dict[str, str]] = {
    "concat": {},
    "add": {"combine": "sum"},
    "excite": {"combine": "product"},
}

Written = str | dict[str, Any]
"""A layer as in a config; in a `Piece` always a mapping of its kind to its arguments."""


@dataclass(slots=True)
class Piece:
    """One layer, or several written as one, and the arrays in it."""

    written: dict[str, Any]
    modules: list[Module] = field(default_factory=list)

    @property
    def kind(self) -> str:
        (kind,) = self.written
        return kind


def plain(kind: str, **arguments: Any) -> Piece:
    """Return a layer without arrays."""
    return Piece({kind: arguments})


def branches(ways: Sequence[list[Piece]], join: str) -> Piece:
    """Return lists of layers whose outputs an op of kind `join` combines."""
    arguments = {"branches": list(map(as_written, ways)), **COMBINE[join]}
    return Piece({"branches": arguments}, modules_of(ways))


def as_written(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """Return the layers as a config writes them."""
    return [piece.written for piece in pieces]


def modules_of(ways: Iterable[list[Piece]]) -> list[Module]:
    """Return the modules of several lists of layers, in order."""
    return [module for way in ways for piece in way for module in piece.modules]


def shortened(written: dict[str, Any]) -> Written:
    """Return a layer, and those in it, in the shortest form."""
    ((kind, arguments),) = written.items()
    if kind == "from":
        return {"from": arguments["layer"]}
    found = dict(arguments)
    for key in ("layers", "shortcut"):
        if key in found:
            found[key] = list(map(shortened, found[key]))
    if "branches" in found:
        found["branches"] = [list(map(shortened, each)) for each in found["branches"]]
    return {kind: found} if found else kind
