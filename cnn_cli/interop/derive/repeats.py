"""Write consecutive equal blocks of a network as one `repeat`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Layer = dict[str, Any]
"""A layer as in `Piece`: a mapping of its kind to its arguments."""

LEAST_SAVED = 3  # layers; fewer do not make up for the lines of `repeat`
LONGEST = 50  # layers in a block, not counting those within them
MOST_TIMES = 1000  # that a config accepts
HOLDERS = ("residual", "branches", "split")


def with_repeats(layers: Sequence[Layer]) -> list[Layer]:
    """Return a network's layers with consecutive equal blocks replaced by `repeat`.

    The order of the parameters is unchanged. Names of layers that are read only within their block
    are ignored in comparisons. A block with a layer that is read from outside is not replaced.
    """
    readers = Counter(layer["from"]["layer"] for layer in _all(layers) if "from" in layer)

    def folded(some: Sequence[Layer]) -> list[Layer]:
        return _folded([_with_lists(layer, folded) for layer in some], readers)

    return folded(layers)


def _folded(layers: Sequence[Layer], readers: Counter[str]) -> list[Layer]:
    found: list[Layer] = []
    at = 0
    while at < len(layers):
        saved, length, times = 0, 1, 1
        for each in range(1, min(LONGEST, (len(layers) - at) // 2) + 1):
            copies = _copies(layers, at, each, readers)
            spared = (copies - 1) * sum(1 for _ in _all(layers[at : at + each]))
            if spared > saved:
                saved, length, times = spared, each, copies
        if saved < LEAST_SAVED:
            found.append(layers[at])
            at += 1
            continue
        # If possible, begin the block with the layer that contains others, such as a residual.
        for start in range(at, at + length):
            if _kind(layers[start]) in HOLDERS:
                if _copies(layers, start, length, readers) == times:
                    found += layers[at:start]
                    at = start
                break
        repeat = {"times": times, "layers": list(layers[at : at + length])}
        found.append({"repeat": repeat})
        at += times * length
    return found


def _copies(layers: Sequence[Layer], start: int, length: int, readers: Counter[str]) -> int:
    """Return the number of consecutive equal blocks of that length from `start` on."""

    def kinds(copy: int) -> list[str]:
        return [_kind(layer) for layer in block(copy)]

    def block(copy: int) -> Sequence[Layer]:
        at = start + copy * length
        return layers[at : at + length]

    count = 1
    first: Any = None
    while count < MOST_TIMES and kinds(count) == kinds(0):  # quick to compare
        if first is None:
            first = _form(block(0), readers)
        if first is None or _form(block(count), readers) != first:
            break
        count += 1
    return count


def _form(block: Sequence[Layer], readers: Counter[str]) -> Any:
    """Return a block with numbers in place of its own layers' names, the same for equal blocks;
    None if a layer is read from outside.
    """
    names = [
        arguments["name"]
        for layer in _all(block)
        for arguments in layer.values()
        if "name" in arguments
    ]
    read = Counter(layer["from"]["layer"] for layer in _all(block) if "from" in layer)
    if any(read[name] != readers[name] for name in names):
        return None
    numbers = {name: i for i, name in enumerate(names)}

    def renamed(layer: Layer) -> Layer:
        ((kind, arguments),) = layer.items()
        key = "layer" if kind == "from" else "name"
        if key in arguments:
            own = arguments[key]
            layer = {kind: arguments | {key: numbers.get(own, own)}}
        return _with_lists(layer, lambda some: list(map(renamed, some)))

    return list(map(renamed, block))


def _kind(layer: Layer) -> str:
    (kind,) = layer
    return kind


def _lists(layer: Layer) -> Iterator[Sequence[Layer]]:
    """Yield the lists of layers within a layer."""
    (arguments,) = layer.values()
    for key in ("layers", "shortcut"):
        if key in arguments:
            yield arguments[key]
    yield from arguments.get("branches", ())


def _all(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Yield layers, each followed by those within it."""
    for layer in layers:
        yield layer
        for some in _lists(layer):
            yield from _all(some)


def _with_lists(layer: Layer, change: Callable[[Sequence[Layer]], list[Layer]]) -> Layer:
    """Return a copy of a layer with changed lists of layers."""
    ((kind, arguments),) = layer.items()
    found = dict(arguments)
    for key in ("layers", "shortcut"):
        if key in found:
            found[key] = change(found[key])
    if "branches" in found:
        found["branches"] = [change(some) for some in found["branches"]]
    return {kind: found}
