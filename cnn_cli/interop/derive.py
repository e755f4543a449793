"""The config of a network that a file describes, found from how its layers are connected.

A tensor that every way from the image to the scores goes through is a place where a list of layers
can be cut (a dominator: Lengauer and Tarjan 1979). Between two such tensors there is one layer, or
a sum, a product or a concatenation of several ways: a `residual`, a `squeeze_excite`, `branches` or
a `split`, whose lists are found in the same manner.
"""

from __future__ import annotations

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
from cnn_cli.nn.layers.base import REQUIRED, shape_text
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.types import Shape

# What an op of that kind is a layer of, whatever it reads.
PLAIN = (
    *("relu", "relu6", "leaky_relu", "silu", "gelu", "hardswish", "sigmoid", "hardsigmoid"),
    *("tanh", "elu", "selu", "softplus", "softsign", "scale", "dropout"),
    *("global_avgpool", "adaptive_avgpool", "channel_shuffle", "layernorm", "groupnorm"),
)
# What reads maps and makes maps.
MAPS = ("maxpool", "avgpool", "adaptive_avgpool", "zeropad", "channel_shuffle")
# Their outputs are never below 0, so that zeros around them are what a maximum ignores.
NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid")
SQUEEZE_ACTIVATIONS = ("relu", "silu", "gelu", "relu6", "hardswish")
GATES = ("sigmoid", "hardsigmoid")
EPS = 1e-5

Written = str | dict[str, Any]


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

    written: Written
    modules: list[Module] = field(default_factory=list)
    is_scores: bool = False  # whether it is the layer that makes them


def derive(foreign: Foreign) -> Derived:
    """The network of a file that says how its layers are connected.

    Raises:
        DataError: it has something that a config cannot express; operator and place are named.
    """
    if foreign.ops is None or foreign.in_shape is None:
        rule = "must say how its layers are connected; give --config CONFIG"
        raise DataError(foreign.place, rule, "arrays alone")
    work = _Derivation(foreign.place, foreign.ops, foreign.in_shape)
    pieces = work.chain(INPUT, work.end)
    for op in work.parts.values():
        rule = "must take one of equal parts of all channels that are joined again, for split"
        raise work.refused(op, rule)
    scores = work.vectors[work.end]
    if prod(scores) != scores[-1] or scores[-1] < 2:
        rule = "must end in a score for each of two or more classes"
        raise DataError(foreign.place, rule, shape_text(scores))
    if len(scores) == 3:
        pieces.append(_Piece("flatten"))
    classes = scores[-1]
    return Derived(
        [piece.written for piece in pieces],
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
        self.written: set[int] = set()
        self.parts: dict[int, Op] = {}  # of channels, that no `split` has taken yet
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
            elif op.kind in (
                "maxpool",
                "avgpool",
                "adaptive_avgpool",
                "zeropad",
                "channel_shuffle",
            ):
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
            op = self.ops[end]
            if end in self.written:
                rule = "must not be read by layers of two branches, which a config cannot express"
                raise self.refused(op, rule)
            self.written.add(end)
            if len(op.inputs) > 1:
                before = self.dominators.last[end]
                pieces.append(self._join(op, before))
            else:
                (before,) = op.inputs
                pieces += self._layer(end, op, before)[::-1]
            end = before
        return pieces[::-1]

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
                return _Piece({"scale": {"factor": 2.0}})
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
        return _Piece({"branches": {"branches": list(map(_written, ways))}}, _modules(ways))

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
                joined = _Piece(
                    {"branches": {"branches": list(map(_written, inner))}}, _modules(inner)
                )
                ways.append([*self.chain(start, common), joined])
            ends = ends[count:]
        return ways

    def _product(self, op: Op, ways: list[list[_Piece]]) -> _Piece:
        for x, gate in (ways, ways[::-1]):
            arguments = _squeeze(gate) if not x else None
            if arguments is not None:
                return _Piece({"squeeze_excite": arguments}, _modules([gate]))
        both = {"branches": list(map(_written, ways)), "combine": "product"}
        return _Piece({"branches": both}, _modules(ways))

    # One layer.

    def _layer(self, at: int, op: Op, before: int) -> list[_Piece]:  # noqa: PLR0911, PLR0912 - a case a kind
        """The layers that an op is; none where it changes nothing."""
        shape = self.vectors[before]
        facts = dict(op.facts)
        match op.kind:
            case "conv":
                return self._conv(at, op, shape)
            case "linear":
                flat = [] if len(shape) == 1 else [_Piece("flatten")]
                return [*flat, self._linear(at, op, op.module)]
            case "flatten":
                return [] if len(shape) == 1 else [_Piece("flatten")]
            case "batchnorm" | "layernorm":
                eps = _number(facts["eps"])
                return [_Piece({op.kind: {"eps": eps}}, [_module(op)])]
            case "affine":
                return [self._affine(op, shape)]
            case "shift":
                channels = shape[-1]
                arrays = {"bias": np.full(channels, facts["term"])}
                return [_norm(op.name, channels, arrays)]
            case "prelu":
                count = _module(op).arrays["weight"].size
                return [_Piece({"prelu": {"num_parameters": count}}, [_module(op)])]
            case "maxpool" | "avgpool":
                return self._pool(op, shape)
            case "global_avgpool" if len(shape) == 1:
                return []
            case "part":
                self.parts[at] = op
                return [_Piece({"part": (at, facts["start"], facts["stop"])})]
            case "zeropad":
                raise self.refused(op, "must be in front of a convolution or a pool")
            case "softmax":
                raise self.refused(op, "must be the last one")
            case kind if kind in PLAIN:
                arguments = {key: _number(value) for key, value in facts.items()}
                if not arguments and any(
                    each.default is REQUIRED for each in layer_class(kind).arguments().values()
                ):
                    raise self.refused(op, "must have its arguments")
                modules = [] if op.module is None else [op.module]
                return [_Piece({kind: arguments} if arguments else kind, modules)]
        raise self.refused(op, "is no layer that a config can express")

    def _conv(self, at: int, op: Op, shape: Shape) -> list[_Piece]:
        facts, module = dict(op.facts), _module(op)
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
            "dilation": list(facts["dilation"]),
            "groups": groups,
            "bias": "bias" in module.arrays,
        }
        for key, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1)):
            if arguments[key] in (default, [default, default]):
                del arguments[key]
        return [_Piece({"conv": _square(arguments)}, [module], is_scores)]

    def _padding(self, op: Op, shape: Shape) -> Any:
        """A convolution's padding as a config has it."""
        found = op.facts["padding"]
        if found == "same":
            return "same"
        top, bottom, left, right = found
        if (top, left) == (bottom, right):
            return [top, left]
        sides = _same_sides(op, shape)
        if sides == found:
            return "same"
        raise self.refused(op, "must pad alike on both sides, or as TensorFlow's same", found)

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
            key: np.broadcast_to(value, (channels,)) for key, value in _module(op).arrays.items()
        }
        if "bias" not in arrays:
            return _Piece("layer_scale", [Module(op.name, "affine", arrays)])
        return _norm(op.name, channels, arrays)

    def _pool(self, op: Op, shape: Shape) -> list[_Piece]:
        facts = op.facts
        if self._is_mean(op, shape):
            return [_Piece("global_avgpool")]
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
        if (top, left) != (0, 0):
            arguments["padding"] = [top, left]
        dilation = tuple(facts.get("dilation", (1, 1)))
        if dilation != (1, 1):
            if op.kind == "avgpool":
                raise self.refused(op, "must be without dilation", dilation)
            arguments["dilation"] = list(dilation)
        choices: list[dict[str, bool]] = [{}, {"ceil_mode": True}]
        if op.kind == "avgpool":
            choices += [each | {"count_include_pad": False} for each in choices]
        made_of = layer_class(op.kind)
        for choice in choices:
            given = {key: _pair(value) for key, value in (arguments | choice).items()}
            layer: Any = made_of(shape, **given)
            if layer.out_shape[:2] == op.shape[:2] and (
                isinstance(layer, MaxPool) or _same_areas(layer, op, padding)
            ):
                return [_Piece({op.kind: _square(arguments | choice)})]
        raise self.refused(op, "must pad alike on both sides", padding)


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
    words = [_word(piece.written) for piece in gate]
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
    written = way[0].written if way else ""
    if isinstance(written, dict) and "part" in written:
        found: tuple[int, int, int] = written["part"]
        return found
    return None


def _word(written: Written) -> str:
    return written if isinstance(written, str) else next(iter(written))


def _written(pieces: Iterable[_Piece]) -> list[Written]:
    return [piece.written for piece in pieces]


def _modules(ways: Iterable[list[_Piece]]) -> list[Module]:
    return [module for way in ways for piece in way for module in piece.modules]


def _length(way: list[_Piece]) -> int:
    return len(way)


def _module(op: Op) -> Module:
    if op.module is None:
        raise ValueError(f"{op.name} has arrays")
    return op.module


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
        key: value[0] if isinstance(value, list) and value[0] == value[1] else value
        for key, value in arguments.items()
    }


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
        if before is not None and before.kind == "zeropad" and _may_pad(op, before, found):
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
