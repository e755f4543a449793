"""The config of a network that a file describes, found from how its layers are connected.

A tensor that every way from the image to the scores goes through is a place where a list of layers
can be cut (a dominator: Lengauer and Tarjan 1979). Between two such tensors there is one layer, or
a sum, a product or a concatenation of several ways: a `residual`, a `squeeze_excite`, `branches` or
a `split`, whose lists are found in the same manner. Where ways meet more than once on their way,
layers stand one after the other, and `from` names the earlier one that each reads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, prod
from typing import Any

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import INPUT, Foreign, Module, Op
from cnn_cli.nn.layers import layer_class
from cnn_cli.nn.layers.avgpool import AvgPool
from cnn_cli.nn.layers.base import REQUIRED, ShapeError, shape_text
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.types import Shape

# What an op of that kind is a layer of, whatever it reads.
PLAIN = (
    *("relu", "relu6", "leaky_relu", "silu", "gelu", "hardswish", "sigmoid", "hardsigmoid"),
    *("tanh", "elu", "selu", "softplus", "softsign", "scale", "dropout"),
    *("global_avgpool", "adaptive_avgpool", "channel_shuffle", "layernorm", "groupnorm"),
    *("lrn", "upsample", "pad"),
)
# What reads maps and makes maps.
MAPS = (
    *("maxpool", "avgpool", "adaptive_avgpool", "zeropad", "pad", "channel_shuffle"),
    *("lrn", "upsample"),
)
# Their outputs are never below 0, so that zeros around them are what a maximum ignores.
NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid")
SQUEEZE_ACTIVATIONS = ("relu", "silu", "gelu", "relu6", "hardswish")
GATES = ("sigmoid", "hardsigmoid")
EPS = 1e-5
LONGEST = 100  # letters of a layer's name
# How branches are combined, by what joins them.
COMBINE: dict[str, dict[str, str]] = {
    "concat": {},
    "add": {"combine": "sum"},
    "excite": {"combine": "product"},
}

Written = str | dict[str, Any]
"""A layer as a config has it; within this module always a mapping of its kind to its arguments."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A network as a config has it, and the file's arrays for it.

    Attributes:
        layers: of the config's `model`.
        classes: how many scores there are.
        modules: of the layers with arrays, in the network's order.
    """

    layers: list[Written]
    classes: int
    modules: list[Module]


@dataclass(slots=True)
class _Piece:
    """One layer, or several as one, and the arrays in it."""

    written: dict[str, Any]
    modules: list[Module] = field(default_factory=list)
    is_scores: bool = False  # whether it is the layer that makes them


def derive(foreign: Foreign) -> Derived:
    """The network of a file that says how its layers are connected.

    Raises:
        DataError: it has something that a config cannot express; operator and place are named.
    """
    if foreign.ops is None:
        rule = "must say how its layers are connected; give --config CONFIG"
        raise DataError(foreign.place, rule, "arrays alone")
    if foreign.in_shape is None:
        raise DataError(foreign.place, "the input must have a size; give data.image_size", "none")
    work = _Derivation(foreign.place, foreign.ops, foreign.in_shape)
    pieces = work.chain(INPUT, work.end)
    for op in work.channel_convs.values():
        raise work.refused(op, "must be between a mean and a gate, for eca")
    for op in work.parts.values():
        rule = "must take one of equal parts of all channels that are joined again, for split"
        raise work.refused(op, rule)
    pieces = work.named(pieces)
    scores = work.vectors[work.end]
    if prod(scores) != scores[-1] or scores[-1] < 2:
        rule = "must end in a score for each of two or more classes"
        raise DataError(foreign.place, rule, shape_text(scores))
    if len(scores) == 3:
        pieces.append(_piece("flatten"))
    classes = scores[-1]
    return Derived(
        [_short(piece.written) for piece in pieces],
        classes,
        [module for piece in pieces for module in piece.modules],
    )


class _Derivation:
    def __init__(self, place: str, ops: Sequence[Op], in_shape: Shape) -> None:
        self.place = place
        self.ops = _padded(ops)
        self.in_shape = in_shape
        self.end = len(ops) - 1
        if ops[self.end].kind == "softmax":
            (self.end,) = ops[self.end].inputs
        self.dominators = _Dominators(self.ops)
        self.made: dict[int, _Piece] = {}  # by the tensor that it makes
        self.passed: dict[int, int] = {}  # tensors that are the same as others, without a layer
        self.froms: list[tuple[_Piece, int]] = []
        self.parts: dict[int, Op] = {}  # of channels, that no `split` has taken yet
        self.channel_convs: dict[int, Op] = {}  # that no `eca` has taken yet
        self.vectors = self._shapes()
        self.scores = self._scores()

    def _shapes(self) -> dict[int, Shape]:
        """What each op's output has for a shape here: a global mean is a vector."""
        shapes = {INPUT: self.in_shape}
        for i, op in enumerate(self.ops):
            before = shapes[op.inputs[0]]
            whole = op.shape
            if whole is None:
                raise self.refused(op, "must have a shape")
            if op.kind in ("global_avgpool", "linear", "flatten") or self._is_mean(op, before):
                shapes[i] = (prod(whole),)
            elif op.kind in MAPS:
                shapes[i] = whole
            elif op.kind == "conv":
                shapes[i] = whole if len(before) == 3 else whole[-1:]
            elif op.kind == "excite":
                shapes[i] = max((shapes[each] for each in op.inputs), key=len)
            elif len(before) == 1:
                shapes[i] = whole[-1:]
            else:
                shapes[i] = whole
        return shapes

    def _is_mean(self, op: Op, before: Shape) -> bool:
        """Whether an average has one window, which is the whole map."""
        facts = op.facts
        return (
            op.kind == "avgpool"
            and len(before) == 3
            and tuple(facts["kernel_size"]) == before[:2]
            and facts["padding"] in ((0, 0, 0, 0), "same")
            and op.shape is not None
            and op.shape[:2] == (1, 1)
        )

    def _scores(self) -> int:
        """The layer that has one output a class: behind it there is none with another number."""
        found = self.end
        while found != INPUT and self.ops[found].kind not in ("conv", "linear"):
            op = self.ops[found]
            if len(op.inputs) > 1 or op.kind in ("flatten", "part"):
                return INPUT
            (found,) = op.inputs
        return found

    def chain(self, start: int, end: int) -> list[_Piece]:
        """The layers from one tensor to another that they all lead to."""
        pieces: list[_Piece] = []
        while end != start:
            if end in self.made:
                pieces.append(self._from(end))
                break
            op, before = self.ops[end], self.dominators.last[end]
            if len(op.inputs) == 1:
                found = self._layer(end, op, before)
            elif self._is_tree(end, before):
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

    def named(self, pieces: list[_Piece]) -> list[_Piece]:
        """The network's layers, with the names that each `from` in them needs."""
        names: dict[int, str] = {}
        for piece, tensor in self.froms:
            source = self._source(tensor)
            if source not in names:
                names[source] = self._name(source, names.values())
                if source == INPUT:
                    image = _piece("scale", factor=1.0, name=names[source])
                    pieces = [image, *pieces]
                else:
                    (arguments,) = self.made[source].written.values()
                    arguments["name"] = names[source]
            piece.written["from"]["layer"] = names[source]
        return pieces

    def _name(self, tensor: int, others: Iterable[str]) -> str:
        """A layer's name by the file's, as a config may have it."""
        word = "image" if tensor == INPUT else self.ops[tensor].name
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", word).strip("_")[-LONGEST + 10 :] or "layer"
        taken = set(others)
        tries = (plain, *(f"{plain}_{i}" for i in range(1, len(taken) + 2)))
        return next(each for each in tries if each not in taken)

    def _source(self, tensor: int) -> int:
        """The tensor that another one is, which a layer makes."""
        while tensor in self.passed:
            tensor = self.passed[tensor]
        return tensor

    def _from(self, tensor: int) -> _Piece:
        piece = _piece("from", layer=None)
        self.froms.append((piece, tensor))
        return piece

    # Ways that meet more than once.

    def _region(self, end: int, start: int) -> set[int]:
        """The ops on all ways between two tensors, the last one among them."""
        found: set[int] = set()
        ahead = [end]
        while ahead:
            op = ahead.pop()
            if op != start and op not in found:
                found.add(op)
                ahead += self.ops[op].inputs
        return found

    def _joins(self, end: int, start: int) -> list[int]:
        """The ops between two tensors where ways meet that part at the first one."""
        last = self.dominators.last
        region = self._region(end, start)
        return sorted(op for op in region if len(self.ops[op].inputs) > 1 and last[op] == start)

    def _is_tree(self, end: int, start: int) -> bool:
        """Whether each way between two tensors leads to one place where it meets others."""
        counts: Counter[int] = Counter()
        for join in self._joins(end, start):
            op = self.ops[join]
            runs = self._runs(op.inputs, start) if op.kind == "concat" else list(op.inputs)
            if runs is None:
                return False
            counts.update(self._first(each, start) for each in runs if each != start)
        return all(count == 1 for count in counts.values())

    def _runs(self, ends: Sequence[int], start: int) -> list[int] | None:
        """One of each run of neighbors that have a part of their way in common; None where
        others than neighbors have.
        """
        firsts = [start if end == start else self._first(end, start) for end in ends]
        found = []
        for i, first in enumerate(firsts):
            if first == start or i == 0 or firsts[i - 1] != first:
                found.append(ends[i])
        kept = [self._first(each, start) for each in found if each != start]
        if len(set(kept)) < len(kept):
            return None
        for first in kept:
            group = [end for end, each in zip(ends, firsts, strict=True) if each == first]
            if len(group) > 1:
                common = group[0]
                for other in group[1:]:
                    common = self.dominators.common(common, other)
                if self._runs(group, common) is None:
                    return None
        return found

    def _first(self, tensor: int, start: int) -> int:
        """The first tensor behind `start` that all ways to another one go through."""
        while self.dominators.last[tensor] != start:
            tensor = self.dominators.last[tensor]
        return tensor

    def _in_order(self, end: int, start: int) -> list[_Piece]:
        """The layers between two tensors one after the other, each behind what it reads."""
        joins = self._joins(end, start)
        read = {each for join in joins for each in self.ops[join].inputs}
        pieces: list[_Piece] = []
        current = start
        for tensor in sorted({*joins, *read} - {start}):
            if tensor in self.made:
                continue
            if tensor in joins:
                found = [self._of_earlier(self.ops[tensor], current)]
            else:
                before = self.dominators.last[tensor]
                while before != start and before not in self.made:
                    before = self.dominators.last[before]
                found = self.chain(before, tensor)
                if not found:
                    continue
                if self._source(before) != self._source(current):
                    found = [self._from(before), *found]
            self.made[tensor] = found[-1]
            pieces += found
            current = tensor
        return pieces

    def _of_earlier(self, op: Op, current: int) -> _Piece:
        """A sum, a product or a concatenation of layers that stand before it."""
        if op.kind not in COMBINE:
            raise self.refused(op, "is no layer that a config can express")
        same = self._source(current)
        ways = [[] if self._source(each) == same else [self._from(each)] for each in op.inputs]
        return _branches(ways, op.kind)

    def refused(self, op: Op, rule: str, got: object = None) -> DataError:
        return DataError(self.place, f"operator {op.name} ({op.kind}) {rule}", got)

    # Several ways from one tensor.

    def _join(self, op: Op, start: int) -> _Piece:
        if op.kind == "concat":
            return self._concat(op, start)
        if op.kind not in ("add", "excite"):
            raise self.refused(op, "is no layer that a config can express")
        if len(set(op.inputs)) == 1:
            if op.kind == "add" and op.inputs[0] == start:
                return _piece("scale", factor=2.0)
            raise self.refused(op, "must have inputs that differ")
        ways = [self.chain(start, each) for each in op.inputs]
        if op.kind == "excite":
            return self._product(op, ways)
        shapes = [self.vectors[each] for each in op.inputs]
        if shapes[0] != shapes[1]:
            raise self.refused(op, "must have inputs of one shape", shapes[1])
        # The residual is the longer way; the shortcut, which may be none, the other.
        longer, shorter = sorted(ways, key=_length, reverse=True)
        arguments: dict[str, Any] = {"layers": _written(longer)}
        if shorter:
            arguments["shortcut"] = _written(shorter)
        return _Piece({"residual": arguments}, _modules([longer, shorter]))

    def _concat(self, op: Op, start: int) -> _Piece:
        ways = self._ways(op.inputs, start)
        parts = [_part_of(way) for way in ways]
        if all(part is not None for part in parts):
            channels = self.vectors[start][-1]
            count = len(ways)
            equal = [(i * channels // count, (i + 1) * channels // count) for i in range(count)]
            if [part[1:] for part in parts if part] == equal and channels % count == 0:
                rest = [way[1:] for way in ways]
                for part in parts:
                    self.parts.pop(part[0] if part else INPUT)
                return _Piece({"split": {"branches": list(map(_written, rest))}}, _modules(rest))
        return _branches(ways, op.kind)

    def _ways(self, ends: Sequence[int], start: int) -> list[list[_Piece]]:
        """The lists of layers to several tensors from one that they all come of.

        Neighbours that have more of their way in common are branches of one list.
        """
        ways = []
        while ends:
            common, count = ends[0], 1
            for other in ends[1:]:
                shared = self.dominators.common(common, other)
                if shared == start:
                    break
                common, count = shared, count + 1
            if count == 1:
                ways.append(self.chain(start, ends[0]))
            else:
                inner = self._ways(ends[:count], common)
                ways.append([*self.chain(start, common), _branches(inner, "concat")])
            ends = ends[count:]
        return ways

    def _product(self, op: Op, ways: list[list[_Piece]]) -> _Piece:
        for x, gate in (ways, ways[::-1]):
            if x:
                continue
            arguments = _squeeze(gate)
            if arguments is not None:
                return _Piece({"squeeze_excite": arguments}, _modules([gate]))
            words = [_word(piece) for piece in gate]
            if words[:2] == ["global_avgpool", "channel_conv"] and words[2:] in (
                [g] for g in GATES
            ):
                at, size = gate[1].written["channel_conv"]
                del self.channel_convs[at]
                arguments = {"kernel_size": size, "gate": words[2]}
                return _Piece({"eca": _without(arguments, gate="sigmoid")}, _modules([gate]))
        return _branches(ways, op.kind)

    # One layer.

    def _layer(self, at: int, op: Op, before: int) -> list[_Piece]:  # noqa: PLR0911, PLR0912 - a case a kind
        """The layers that an op is; none where it changes nothing."""
        shape = self.vectors[before]
        facts = dict(op.facts)
        match op.kind:
            case "conv":
                return self._conv(at, op, shape)
            case "linear":
                flat = [] if len(shape) == 1 else [_piece("flatten")]
                return [*flat, self._linear(at, op, op.module)]
            case "flatten":
                return [] if len(shape) == 1 else [_piece("flatten")]
            case "batchnorm" | "layernorm":
                eps = _number(facts["eps"])
                return [_Piece({op.kind: {"eps": eps}}, [self._module(op)])]
            case "affine":
                return [self._affine(op, shape)]
            case "shift":
                channels = shape[-1]
                arrays = {"bias": np.full(channels, facts["term"])}
                return [_norm(op.name, channels, arrays)]
            case "prelu":
                module = self._module(op)
                count = module.arrays["weight"].size
                return [_Piece({"prelu": {"num_parameters": count}}, [module])]
            case "maxpool" | "avgpool":
                return self._pool(op, shape)
            case "global_avgpool" if len(shape) == 1:
                return []
            case "part":
                self.parts[at] = op
                return [_Piece({"part": (at, facts["start"], facts["stop"])})]
            case "channel_conv":
                self.channel_convs[at] = op
                return [_Piece({"channel_conv": (at, facts["kernel_size"])}, [self._module(op)])]
            case "zeropad":
                (top, bottom), (left, right) = facts["padding"]
                sides = _sides([top, bottom, left, right])
                return [_Piece({"pad": _square({"padding": sides})})]
            case "softmax":
                raise self.refused(op, "must be the last one")
            case kind if kind in PLAIN:
                arguments = {key: _number(value) for key, value in facts.items()}
                if not arguments and any(
                    each.default is REQUIRED for each in layer_class(kind).arguments().values()
                ):
                    raise self.refused(op, "must have its arguments")
                modules = [] if op.module is None else [op.module]
                return [_Piece({kind: arguments}, modules)]
        raise self.refused(op, "is no layer that a config can express")

    def _conv(self, at: int, op: Op, shape: Shape) -> list[_Piece]:
        facts, module = dict(op.facts), self._module(op)
        weight = module.arrays["weight"]
        if len(shape) == 1:
            if facts["groups"] not in (1, None) or prod(weight.shape[2:]) != 1:
                raise self.refused(op, "must be of one group and one pixel, after a mean")
            return [self._linear(at, op, module)]
        groups = shape[2] if facts["groups"] is None else facts["groups"]
        is_scores = at == self.scores
        arguments: dict[str, Any] = {
            "out_channels": "classes" if is_scores else weight.shape[0],
            "kernel_size": list(facts["kernel_size"]),
            "stride": list(facts["stride"]),
            "padding": self._padding(op, shape),
            "padding_mode": facts.get("padding_mode", "zeros"),
            "dilation": list(facts["dilation"]),
            "groups": groups,
            "bias": "bias" in module.arrays,
        }
        idle = {"stride": 1, "padding": 0, "padding_mode": "zeros", "dilation": 1, "groups": 1}
        return [_Piece({"conv": _without(_square(arguments), **idle)}, [module], is_scores)]

    def _padding(self, op: Op, shape: Shape) -> Any:
        """A convolution's padding as a config has it."""
        found = op.facts["padding"]
        if found == "same":
            return "same"
        return "same" if _same_sides(op, shape) == found and len(set(found)) > 1 else _sides(found)

    def _linear(self, at: int, op: Op, module: Module | None) -> _Piece:
        if module is None:
            raise self.refused(op, "must have weights")
        is_scores = at == self.scores
        arguments: dict[str, Any] = {
            "out_features": "classes" if is_scores else module.arrays["weight"].shape[0]
        }
        if "bias" not in module.arrays:
            arguments["bias"] = False
        return _Piece({"linear": arguments}, [module], is_scores)

    def _affine(self, op: Op, shape: Shape) -> _Piece:
        """Channels times numbers and plus numbers: a scale of layers, or a batch normalization of
        fixed statistics.
        """
        channels = shape[-1]
        arrays = {
            key: np.broadcast_to(value, (channels,))
            for key, value in self._module(op).arrays.items()
        }
        if "bias" not in arrays:
            return _Piece({"layer_scale": {}}, [Module(op.name, "affine", arrays)])
        return _norm(op.name, channels, arrays)

    def _pool(self, op: Op, shape: Shape) -> list[_Piece]:
        facts = op.facts
        if self._is_mean(op, shape):
            return [_piece("global_avgpool")]
        kernel, stride = tuple(facts["kernel_size"]), tuple(facts["stride"])
        if kernel == stride == (1, 1) and facts["padding"] in ((0, 0, 0, 0), "same"):
            return []
        if op.shape is None:
            raise self.refused(op, "must have a shape")
        padding = facts["padding"]
        if padding == "same":
            padding = _same_sides(op, shape)
        arguments: dict[str, Any] = {"kernel_size": list(kernel), "stride": list(stride)}
        top, _, left, _ = padding
        dilation = tuple(facts.get("dilation", (1, 1)))
        if dilation != (1, 1):
            if op.kind == "avgpool":
                raise self.refused(op, "must be without dilation", dilation)
            arguments["dilation"] = list(dilation)
        # As little as is needed: a ceiling where it pads enough.
        choices: list[dict[str, Any]] = [
            {**_without({"padding": _sides(sides)}, padding=[0, 0]), **more}
            for sides in dict.fromkeys(((top, top, left, left), tuple(padding)))
            for more in ({}, {"ceil_mode": True})
        ]
        if op.kind == "avgpool":
            choices += [each | {"count_include_pad": False} for each in choices]
        made_of = layer_class(op.kind)
        for choice in choices:
            given = {key: _pair(value) for key, value in (arguments | choice).items()}
            try:
                layer: Any = made_of(shape, **given)
            except ShapeError:
                continue
            if layer.out_shape[:2] == op.shape[:2] and (
                isinstance(layer, MaxPool) or _same_areas(layer, op, padding)
            ):
                return [_Piece({op.kind: _square(arguments | choice)})]
        raise self.refused(op, "must pad as a pool of a config can", padding)

    def _module(self, op: Op) -> Module:
        if op.module is None or (op.kind == "conv" and "weight" not in op.module.arrays):
            raise self.refused(op, "must have weights")
        return op.module


def _piece(kind: str, **arguments: Any) -> _Piece:
    """A layer without arrays."""
    return _Piece({kind: arguments})


def _branches(ways: Sequence[list[_Piece]], kind: str) -> _Piece:
    arguments = {"branches": list(map(_written, ways)), **COMBINE[kind]}
    return _Piece({"branches": arguments}, _modules(ways))


def _norm(name: str, channels: int, arrays: Mapping[str, Any]) -> _Piece:
    """A batch normalization that multiplies by `weight` and adds `bias`."""
    module = Module(
        name,
        "norm",
        {
            "weight": np.ones(channels),
            **arrays,
            "running_mean": np.zeros(channels),
            "running_var": np.full(channels, 1 - EPS),
        },
    )
    return _Piece({"batchnorm": {"eps": EPS}}, [module])


class _Dominators:
    """For each op the last tensor, before its output, that all ways from the image go through.

    Attributes:
        last: that tensor, by the op's position.
    """

    def __init__(self, ops: Sequence[Op]) -> None:
        self.last: list[int] = []
        self._depths: list[int] = []
        for op in ops:
            common, *others = op.inputs
            for other in others:
                common = self.common(common, other)
            self.last.append(common)
            self._depths.append(self._depth(common) + 1)

    def common(self, one: int, other: int) -> int:
        """The last tensor that all ways to both go through; it may be one of them."""
        while one != other:
            if self._depth(one) >= self._depth(other):
                one = self.last[one]
            else:
                other = self.last[other]
        return one

    def _depth(self, tensor: int) -> int:
        return 0 if tensor == INPUT else self._depths[tensor]


def _squeeze(gate: list[_Piece]) -> dict[str, Any] | None:
    """The arguments of a `squeeze_excite` whose gate those layers are; None where they are not."""
    words = [_word(piece) for piece in gate]
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


def _part_of(way: list[_Piece]) -> tuple[int, int, int] | None:
    """The op that a way begins with, if that takes some of the channels, and which ones."""
    found: tuple[int, int, int] | None = way[0].written.get("part") if way else None
    return found


def _word(piece: _Piece) -> str:
    (word,) = piece.written
    return word


def _short(written: dict[str, Any]) -> Written:
    """A layer as a person would write it, and those within it."""
    ((kind, arguments),) = written.items()
    if kind == "from":
        return {"from": arguments["layer"]}
    found = dict(arguments)
    for key in ("layers", "shortcut"):
        if key in found:
            found[key] = list(map(_short, found[key]))
    if "branches" in found:
        found["branches"] = [list(map(_short, each)) for each in found["branches"]]
    return {kind: found} if found else kind


def _written(pieces: Iterable[_Piece]) -> list[dict[str, Any]]:
    return [piece.written for piece in pieces]


def _modules(ways: Iterable[list[_Piece]]) -> list[Module]:
    return [module for way in ways for piece in way for module in piece.modules]


def _length(way: list[_Piece]) -> int:
    return len(way)


def _number(value: Any) -> Any:
    """A number of a file, which has it in float32, as a person would write it."""
    if isinstance(value, float):
        short = float(str(np.float32(value)))
        return short if isclose(short, value, rel_tol=1e-7) else value
    return list(value) if isinstance(value, tuple) else value


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _square(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments, with one number for two alike."""
    return {
        key: value[0] if isinstance(value, list) and len(set(value)) == 1 else value
        for key, value in arguments.items()
    }


def _sides(sides: Sequence[int]) -> list[int]:
    """Padding above, below, left and right, or above and to the left where that says it."""
    top, bottom, left, right = sides
    return [top, left] if (top, left) == (bottom, right) else list(sides)


def _without(arguments: dict[str, Any], **idle: Any) -> dict[str, Any]:
    """Arguments without those that are the defaults."""
    return {key: value for key, value in arguments.items() if key not in idle or value != idle[key]}


def _same_areas(layer: AvgPool, op: Op, padding: Sequence[int]) -> bool:
    """Whether an average divides by what a file's does, whose sides may be padded otherwise."""
    windows, lengths = layer.windows, []
    for axis, size in enumerate(windows.in_size):
        before, after = padding[2 * axis : 2 * axis + 2]
        start = np.arange(windows.out_size[axis]) * windows.stride[axis] - before
        end = start + windows.reach[axis]
        if op.facts.get("count_include_pad"):
            lengths.append(np.minimum(end, size + after) - start)
        else:
            lengths.append(np.minimum(end, size) - np.maximum(start, 0))
    areas = np.outer(*lengths) / op.facts.get("factors", 1.0)
    return np.allclose(areas, layer.windows.areas(layer.count_include_pad), rtol=1e-6)


def _padded(ops: Sequence[Op]) -> list[Op]:
    """The ops, whose windows pad as an op before them did, where that is the same."""
    found: list[Op] = []
    for op in ops:
        before = found[op.inputs[0]] if op.inputs[0] != INPUT else None
        unpadded = op.facts.get("padding") == (0, 0, 0, 0)
        if before is not None and before.kind == "pad" and op.kind == "conv" and unpadded:
            facts = {**op.facts, **before.facts}
            found.append(Op(op.kind, op.name, before.inputs, facts, op.module, op.shape))
        elif before is not None and before.kind == "zeropad" and _may_pad(op, before, found):
            (top, bottom), (left, right) = before.facts["padding"]
            own = op.facts["padding"]
            sides = _same_sides(op, before.shape or ()) if own == "same" else own
            added = zip(sides, (top, bottom, left, right), strict=True)
            facts = {**op.facts, "padding": tuple(a + b for a, b in added)}
            if op.kind == "avgpool":
                facts["count_include_pad"] = True
            found.append(Op(op.kind, op.name, before.inputs, facts, op.module, op.shape))
        else:
            found.append(op)
    return found


def _may_pad(op: Op, pad: Op, ops: Sequence[Op]) -> bool:
    if op.kind == "maxpool":
        (source,) = pad.inputs
        return source != INPUT and ops[source].kind in NOT_NEGATIVE
    if op.kind == "avgpool":
        own = op.facts["padding"]
        return own == (0, 0, 0, 0) or (own != "same" and bool(op.facts.get("count_include_pad")))
    return op.kind == "conv"


def _same_sides(op: Op, shape: Shape) -> tuple[int, ...]:
    """Above, below, left and right of what TensorFlow's `same` pads."""
    sides: list[int] = []
    for axis in (0, 1):
        stride, kernel = op.facts["stride"][axis], op.facts["kernel_size"][axis]
        reach = op.facts.get("dilation", (1, 1))[axis] * (kernel - 1) + 1
        outputs = ceil_div(shape[axis], stride)
        total = max((outputs - 1) * stride + reach - shape[axis], 0)
        sides += [total // 2, total - total // 2]
    return tuple(sides)
