"""Find the lists of layers in a file's network, and the layers that contain lists.

Between two consecutive bottlenecks there is one layer, or a sum, product or concatenation of
several paths: a `residual`, a `squeeze_excite`, `branches` or a `split`, whose lists are found
recursively. If paths meet in other ways, layers are listed in order, and `from` names the earlier
layer that each one reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, get_args

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.derive.graph_paths import Paths
from cnn_cli.interop.derive.layers import Layers, without
from cnn_cli.interop.derive.padding import padded
from cnn_cli.interop.derive.pieces import (
    COMBINE,
    Piece,
    Written,
    as_written,
    branches,
    modules_of,
    plain,
    shortened,
)
from cnn_cli.interop.derive.repeats import with_repeats
from cnn_cli.interop.foreign import INPUT, Foreign, Module, Op
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.layers.squeeze_excite import ActivationKind, GateKind
from cnn_cli.nn.types import Shape

SQUEEZE_ACTIVATIONS, GATES = get_args(ActivationKind), get_args(GateKind)
LONGEST = 100  # characters of a layer name
TWO_SCORES = "must end in a score for each of two or more classes"


@dataclass(frozen=True, slots=True)
class Derived:
    """A network in the form of a config, with the file's arrays.

    Attributes:
        layers: the `layers` of the config's `model`.
        classes: number of scores.
        modules: arrays of the layers that have some, in the network's order.
    """

    layers: list[Written]
    classes: int
    modules: list[Module]


def derive(foreign: Foreign) -> Derived:
    """Derive the network of a file that contains its structure.

    Raises:
        DataError: a config cannot express something; the error names operator and place.
    """
    if foreign.ops is None:
        rule = "must say how its layers are connected; give --config CONFIG"
        raise DataError(foreign.place, rule, "arrays alone")
    if foreign.in_shape is None:
        raise DataError(foreign.place, "the input must have a size; give data.image_size", "none")
    work = _Derivation(foreign.place, foreign.ops, foreign.in_shape)
    pieces = work.chain(INPUT, work.end)
    for op in work.layers.channel_convs.values():
        raise work.layers.refused(op, "must be between a mean and a gate, for eca")
    pieces = work.named(pieces)
    scores = work.layers.shapes[work.end]
    if prod(scores) != scores[-1] or scores[-1] < 2:
        raise DataError(foreign.place, TWO_SCORES, shape_text(scores))
    if len(scores) == 3:
        pieces.append(plain("flatten"))
    classes = scores[-1]
    return Derived(
        list(map(shortened, with_repeats(as_written(pieces)))),
        classes,
        [module for piece in pieces for module in piece.modules],
    )


class _Derivation:
    """The layers of a network, as far as found."""

    def __init__(self, place: str, ops: Sequence[Op], in_shape: Shape) -> None:
        self.ops = padded(ops)
        self.end = len(ops) - 1
        self.paths = Paths(self.ops)
        self.layers = Layers(place, self.ops, in_shape, self.end)
        self.made: dict[int, Piece] = {}  # by the tensor that it produces
        self.passed: dict[int, int] = {}  # tensors that equal another one, without a layer
        self.froms: list[tuple[Piece, int]] = []

    def chain(self, start: int, end: int) -> list[Piece]:
        """Return the layers from one tensor to another, through which everything passes."""
        pieces: list[Piece] = []
        while end != start:
            if end in self.made:
                pieces.append(self._from(end))
                break
            op, before = self.ops[end], self.paths.last[end]
            if len(op.inputs) == 1:
                found = self.layers.read(end, op, before)
            elif self.paths.is_tree(end, before):
                found = [self._join(op, before)]
            else:
                found = self._in_order(end, before)
            if found:
                self.made[end] = found[-1]
            else:
                self.passed[end] = before
            pieces += found[::-1]
            end = before
        return pieces[::-1]

    def named(self, pieces: list[Piece]) -> list[Piece]:
        """Return the network's layers, with the names to which each `from` in them refers."""
        names: dict[int, str] = {}
        for piece, tensor in self.froms:
            source = self._source(tensor)
            if source not in names:
                names[source] = self._name(source, names.values())
                if source == INPUT:
                    image = plain("scale", factor=1.0, name=names[source])
                    pieces = [image, *pieces]
                else:
                    (arguments,) = self.made[source].written.values()
                    arguments["name"] = names[source]
            piece.written["from"]["layer"] = names[source]
        return pieces

    def _name(self, tensor: int, others: Iterable[str]) -> str:
        """Return a valid layer name for a config, based on the file's."""
        word = "image" if tensor == INPUT else self.ops[tensor].name
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", word).strip("_")[-LONGEST + 10 :] or "layer"
        taken = set(others)
        tries = (base, *(f"{base}_{i}" for i in range(1, len(taken) + 2)))
        return next(each for each in tries if each not in taken)

    def _source(self, tensor: int) -> int:
        """Return the tensor produced by a layer that equals this tensor."""
        while tensor in self.passed:
            tensor = self.passed[tensor]
        return tensor

    def _from(self, tensor: int) -> Piece:
        piece = plain("from", layer=None)
        self.froms.append((piece, tensor))
        return piece

    def _in_order(self, end: int, start: int) -> list[Piece]:
        """Return the layers between two tensors in order, each after its inputs."""
        joins = self.paths.joins(end, start)
        read = {each for join in joins for each in self.ops[join].inputs}
        pieces: list[Piece] = []
        current = start
        for tensor in sorted({*joins, *read} - {start}):
            if tensor in self.made:
                continue
            if tensor in joins:
                found = [self._of_earlier(self.ops[tensor], current)]
            else:
                before = self.paths.last[tensor]
                while before != start and before not in self.made:
                    before = self.paths.last[before]
                found = self.chain(before, tensor)
                if not found:
                    continue
                if self._source(before) != self._source(current):
                    found = [self._from(before), *found]
            self.made[tensor] = found[-1]
            pieces += found
            current = tensor
        return pieces

    def _of_earlier(self, op: Op, current: int) -> Piece:
        """Convert a sum, product or concatenation of earlier layers."""
        if op.kind not in COMBINE:
            raise self.layers.refused(op, "is no layer that a config can express")
        same = self._source(current)
        ways = [[] if self._source(each) == same else [self._from(each)] for each in op.inputs]
        return branches(ways, op.kind)

    def _join(self, op: Op, start: int) -> Piece:
        if op.kind == "concat":
            return self._concat(op, start)
        if op.kind not in ("add", "excite"):
            raise self.layers.refused(op, "is no layer that a config can express")
        if op.kind == "add" and set(op.inputs) == {start}:
            return plain("scale", factor=2.0)
        ways = [self.chain(start, each) for each in op.inputs]
        if op.kind == "excite":
            return self._product(op, ways)
        shapes = [self.layers.shapes[each] for each in op.inputs]
        if shapes[0] != shapes[1]:
            raise self.layers.refused(op, "must have inputs of one shape", shapes[1])
        if all(way and way[0].kind == "slice" for way in ways):
            return branches(ways, op.kind)
        # The residual is the longer way; the shortcut, which may be none, the other.
        longer, shorter = sorted(ways, key=len, reverse=True)
        arguments: dict[str, Any] = {"layers": as_written(longer)}
        if shorter:
            arguments["shortcut"] = as_written(shorter)
        return Piece({"residual": arguments}, modules_of([longer, shorter]))

    def _concat(self, op: Op, start: int) -> Piece:
        ways = self._ways(op.inputs, start)
        channels, count = self.layers.shapes[start][-1], len(ways)
        equal = [(i * channels // count, (i + 1) * channels // count) for i in range(count)]
        if channels % count == 0 and [_part_of(way, channels) for way in ways] == equal:
            rest = [way[1:] for way in ways]
            return Piece({"split": {"branches": list(map(as_written, rest))}}, modules_of(rest))
        return branches(ways, op.kind)

    def _ways(self, ends: Sequence[int], start: int) -> list[list[Piece]]:
        """Return the lists of layers from one tensor to several others.

        Adjacent tensors whose paths share more than the start become branches of one list.
        """
        ways = []
        while ends:
            common, count = ends[0], 1
            for other in ends[1:]:
                shared = self.paths.common(common, other)
                if shared == start:
                    break
                common, count = shared, count + 1
            if count == 1:
                ways.append(self.chain(start, ends[0]))
            else:
                inner = self._ways(ends[:count], common)
                ways.append([*self.chain(start, common), branches(inner, "concat")])
            ends = ends[count:]
        return ways

    def _product(self, op: Op, ways: list[list[Piece]]) -> Piece:
        for x, gate in (ways, ways[::-1]):
            if x:
                continue
            arguments = _squeeze(gate)
            if arguments is not None:
                return Piece({"squeeze_excite": arguments}, modules_of([gate]))
            words = [piece.kind for piece in gate]
            if words[:2] == ["global_avgpool", "channel_conv"] and words[2:] in (
                [g] for g in GATES
            ):
                at, size = gate[1].written["channel_conv"]
                del self.layers.channel_convs[at]
                arguments = {"kernel_size": size, "gate": words[2]}
                return Piece({"eca": without(arguments, gate="sigmoid")}, modules_of([gate]))
        return branches(ways, op.kind)


def _squeeze(gate: list[Piece]) -> dict[str, Any] | None:
    """Return the arguments of a `squeeze_excite` with this gate; None if it is not one."""
    words = [piece.kind for piece in gate]
    if len(gate) != 5 or words[::2][0] != "global_avgpool":
        return None
    _, reduce, activation, expand, last = words
    if (reduce, expand) != ("linear", "linear"):
        return None
    if activation not in SQUEEZE_ACTIVATIONS or last not in GATES:
        return None
    modules = [piece.modules[0] for piece in (gate[1], gate[3])]
    arguments: dict[str, Any] = {"squeeze_channels": modules[0].arrays["weight"].shape[0]}
    if activation != "relu":
        arguments["activation"] = activation
    if last != "sigmoid":
        arguments["gate"] = last
    for i, module in zip((1, 3), modules, strict=True):
        if "bias" not in module.arrays:
            zeros = np.zeros(module.arrays["weight"].shape[0])
            arrays = {**module.arrays, "bias": zeros}
            gate[i].modules[0] = Module(module.name, module.kind, arrays, module.flattens)
    return arguments


def _part_of(way: list[Piece], channels: int) -> tuple[int, int] | None:
    """Return the first channel that a way reads and the one after the last; None if it reads all.

    Args:
        channels: number of channels before the way.
    """
    if not way or way[0].kind != "slice":
        return None
    (arguments,) = way[0].written.values()
    return arguments.get("start", 0), arguments.get("stop", channels)
