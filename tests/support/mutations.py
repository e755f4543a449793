"""Mutations of files and documents; the caller draws which ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from checkpoints import npy

KINDS = ("flip", "set", "cut", "delete", "repeat", "insert")
VALUES: list[Any] = [
    *(None, True, False, "", "none", "auto", "classes", "same", "\x00", "ü\n\ud800", "1e-3"),
    *(0, -1, 1, 2, 3, 7, 10**9, 2**31 - 1, 2**31, 2**63, 10**40, -(10**18)),
    *(0.0, -0.5, 0.5, 1.0, 1e-320, 1e38, 1e308, float("nan"), float("inf"), -float("inf")),
    *([], {}, [0], [3, 3], [1, 2, 3], [[]], {"": None}, {"a": 1}, ["relu"], [{"conv": 3}]),
    {"conv": {"out_channels": 10**9, "kernel_size": 3}},
    {"conv": {"out_channels": 4, "kernel_size": [1, 9], "padding": 10**6}},
    {"linear": 2**31 - 1},
    {"repeat": {"times": 10**9, "layers": ["relu"]}},
    {"repeat": {"times": 2**31 - 1, "layers": [{"repeat": {"times": 2**31 - 1, "layers": []}}]}},
    {"residual": {"layers": [{"maxpool": 2}]}},
    {"branches": [["relu"], ["relu"], []]},
]


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to some bytes.

    Attributes:
        kind: one of `KINDS`.
        place: 0..1 of the length.
        size: number of bytes, for changes to several.
        value: 0..255.
    """

    kind: str
    place: float
    size: int
    value: int


def edited(content: bytes, edits: Sequence[Edit]) -> bytes:
    """Apply edits to bytes, one after another."""
    for edit in edits:
        at = int(edit.place * len(content))
        end = at + edit.size
        match edit.kind:
            case "flip":
                content = (
                    content[:at]
                    + bytes(b ^ edit.value for b in content[at : at + 1])
                    + (content[at + 1 :])
                )
            case "set":
                content = content[:at] + bytes([edit.value]) * edit.size + content[end:]
            case "cut":
                content = content[:at]
            case "delete":
                content = content[:at] + content[end:]
            case "repeat":
                content = content[:end] + content[at:]
            case "insert":
                content = content[:at] + bytes([edit.value]) * edit.size + content[at:]
    return content


def random_edits(rng: np.random.Generator) -> list[Edit]:
    """Draw one to four edits."""
    return [
        Edit(
            KINDS[int(rng.integers(len(KINDS)))],
            float(rng.random()),
            int(rng.integers(1, 64)),
            int(rng.integers(256)),
        )
        for _ in range(int(rng.integers(1, 5)))
    ]


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in mappings and lists, from the top."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(document: Any, where: int, what: int, *values: Any) -> Any:
    """Return a copy with one value replaced, usually by one of `VALUES` or `values`; some `what`
    remove, rename or duplicate it.
    """
    document = deepcopy(document)
    paths = list(places(document))
    *path, last = paths[where % len(paths)]
    here = document
    for key in path:
        here = here[key]
    chosen = values or VALUES
    choice = what % (len(chosen) + 3)
    if choice < len(chosen):
        here[last] = deepcopy(chosen[choice])
    elif choice == len(chosen):
        del here[last]
    elif choice == len(chosen) + 1 and isinstance(here, dict):
        here[f"{last}s"] = here.pop(last)
    else:
        here[last] = [here[last], here[last]]
    return document


def meta_member(meta: dict[str, Any]) -> bytes:
    """Return a document as the member `meta` of a checkpoint; lone surrogates and NaN are
    allowed.
    """
    return npy(np.frombuffer(json.dumps(meta).encode(), np.uint8))


def spoiled_array(array: Any, how: int) -> Any:
    """Change an array's dtype, shape or values."""
    array = np.array(array)
    ways = (
        array.astype(np.float16),
        array.astype(np.int64),
        array.ravel(),
        array[..., None],
        array.astype(np.complex64),
        np.full(array.shape, np.nan),
        np.full(array.shape, 3e38, np.float32),
        array.astype(object),
    )
    return ways[how % len(ways)]
