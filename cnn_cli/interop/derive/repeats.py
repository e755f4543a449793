"""Equal blocks of a network, one after another, as one `repeat`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Layer = dict[str, Any]
"""A layer as a `Piece` has it: its kind to its arguments."""

LEAST_SAVED = 3  # layers, or the repeat's own lines would make the list no shorter
LONGEST = 50  # layers of a list in a block
MOST_TIMES = 1000  # of a repeat in a config
HOLDERS = ("residual", "branches", "split")


def with_repeats(layers: Sequence[Layer]) -> list[Layer]:
    """A network's layers, with blocks that equal the one before them as a `repeat` of that.

    Parameters stay in their order. Blocks are equal whatever they call the layers that only they
    read; a layer that is read from outside its block keeps the block from being folded.
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
        # A block begins with what holds layers, as a residual, and not with what follows that.
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
    """How many equal blocks of that length stand one after another, from `start` on."""

    def kinds(copy: int) -> list[str]:
        return [_kind(layer) for layer in block(copy)]

    def block(copy: int) -> Sequence[Layer]:
        at = start + copy * length
        return layers[at : at + length]

    count = 1
    first: Any = None
    while count < MOST_TIMES and kinds(count) == kinds(0):  # which is faster to tell
        if first is None:
            first = _form(block(0), readers)
        if first is None or _form(block(count), readers) != first:
            break
        count += 1
    return count


def _form(block: Sequence[Layer], readers: Counter[str]) -> Any:
    """What equal blocks have in common, without the names of layers that only they read; None
    where one of its layers is read from outside.
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
    """The lists of layers that a layer holds."""
    (arguments,) = layer.values()
    for key in ("layers", "shortcut"):
        if key in arguments:
            yield arguments[key]
    yield from arguments.get("branches", ())


def _all(layers: Sequence[Layer]) -> Iterator[Layer]:
    """The layers and those within them."""
    for layer in layers:
        yield layer
        for some in _lists(layer):
            yield from _all(some)


def _with_lists(layer: Layer, change: Callable[[Sequence[Layer]], list[Layer]]) -> Layer:
    """A layer whose lists are changed."""
    ((kind, arguments),) = layer.items()
    found = dict(arguments)
    for key in ("layers", "shortcut"):
        if key in found:
            found[key] = change(found[key])
    if "branches" in found:
        found["branches"] = [change(some) for some in found["branches"]]
    return {kind: found}
