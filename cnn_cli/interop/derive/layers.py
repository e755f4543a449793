"""Convert one op of a file's network to layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose, prod
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.derive.padding import same_sides
from cnn_cli.interop.derive.pieces import Piece, plain
from cnn_cli.interop.foreign import INPUT, Module, Op
from cnn_cli.nn.layers import layer_class
from cnn_cli.nn.layers.avgpool import AvgPool
from cnn_cli.nn.layers.base import REQUIRED, ShapeError
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.types import Shape

# Ops that are always the layer of that kind.
PLAIN = (
    *("relu", "relu6", "leaky_relu", "silu", "gelu", "hardswish", "sigmoid", "hardsigmoid"),
    *("tanh", "elu", "selu", "softplus", "softsign", "scale", "dropout"),
    *("global_avgpool", "adaptive_avgpool", "channel_shuffle", "layernorm", "groupnorm"),
    "radix_softmax",
    *("lrn", "upsample", "pad"),
)
# Ops from maps to maps.
MAPS = (
    *("maxpool", "avgpool", "adaptive_avgpool", "zeropad", "pad", "channel_shuffle"),
    *("lrn", "upsample"),
)
EPS = 1e-5
CONV_DEFAULTS = {
    "stride": 1,
    "padding": 0,
    "padding_mode": "zeros",
    "dilation": 1,
    "groups": 1,
    "bias": True,
}


class Layers:
    """Converts a network's ops to layers.

    Args:
        place: the file, for messages.
        ops: the ops of the network.
        in_shape: shape of an image.
        end: the op that gives the scores.

    Attributes:
        shapes: shape of each op's output in this program, where a global mean is a vector.
        channel_convs: ops that form a layer only with others, such as `eca`, which removes them.
    """

    def __init__(self, place: str, ops: Sequence[Op], in_shape: Shape, end: int) -> None:
        self.place = place
        self.ops = ops
        self.channel_convs: dict[int, Op] = {}
        self.shapes = self._shapes(in_shape)
        self._scores = self._last_matrix(end)

    def refused(self, op: Op, rule: str, got: object = None) -> DataError:
        return DataError(self.place, f"operator {op.name} ({op.kind}) {rule}", got)

    def read(self, at: int, op: Op, before: int) -> list[Piece]:  # noqa: PLR0911, PLR0912 - a case a kind
        """Return the layers of an op; none if it changes nothing."""
        shape = self.shapes[before]
        facts = dict(op.facts)
        match op.kind:
            case "conv":
                return self._conv(at, op, shape)
            case "linear":
                flat = [] if len(shape) == 1 else [plain("flatten")]
                return [*flat, self._linear(at, op, op.module)]
            case "flatten":
                return [] if len(shape) == 1 else [plain("flatten")]
            case "batchnorm" | "layernorm":
                eps = _number(facts["eps"])
                return [Piece({op.kind: {"eps": eps}}, [self._module(op)])]
            case "affine":
                return [self._affine(op, shape)]
            case "shift":
                channels = shape[-1]
                arrays = {"bias": np.full(channels, facts["term"])}
                return [_norm(op.name, channels, arrays)]
            case "prelu":
                module = self._module(op)
                count = module.arrays["weight"].size
                return [Piece({"prelu": {"num_parameters": count}}, [module])]
            case "maxpool" | "avgpool":
                return self._pool(op, shape)
            case "global_avgpool" if len(shape) == 1:
                return []
            case "slice":
                return [Piece({"slice": without(facts, start=0, stop=shape[-1])})]
            case "channel_conv":
                self.channel_convs[at] = op
                return [Piece({"channel_conv": (at, facts["kernel_size"])}, [self._module(op)])]
            case "zeropad":
                (top, bottom), (left, right) = facts["padding"]
                sides = _sides([top, bottom, left, right])
                return [Piece({"pad": _square({"padding": sides})})]
            case "softmax":
                raise self.refused(op, "must be the last one")
            case kind if kind in PLAIN:
                arguments = {key: _number(value) for key, value in facts.items()}
                if not arguments and any(
                    each.default is REQUIRED for each in layer_class(kind).arguments().values()
                ):
                    raise self.refused(op, "must have its arguments")
                modules = [] if op.module is None else [op.module]
                return [Piece({kind: arguments}, modules)]
        raise self.refused(op, "is no layer that a config can express")

    def _conv(self, at: int, op: Op, shape: Shape) -> list[Piece]:
        facts, module = dict(op.facts), self._module(op)
        weight = module.arrays["weight"]
        if len(shape) == 1:
            if facts["groups"] not in (1, None) or prod(weight.shape[2:]) != 1:
                raise self.refused(op, "must be of one group and one pixel, after a mean")
            return [self._linear(at, op, module)]
        groups = shape[2] if facts["groups"] is None else facts["groups"]
        is_scores = at == self._scores
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
        return [Piece({"conv": without(_square(arguments), **CONV_DEFAULTS)}, [module])]

    def _padding(self, op: Op, shape: Shape) -> Any:
        """Return a convolution's padding in the form of a config."""
        found = op.facts["padding"]
        if found == "same":
            return "same"
        return "same" if same_sides(op, shape) == found and len(set(found)) > 1 else _sides(found)

    def _linear(self, at: int, op: Op, module: Module | None) -> Piece:
        if module is None:
            raise self.refused(op, "must have weights")
        is_scores = at == self._scores
        arguments: dict[str, Any] = {
            "out_features": "classes" if is_scores else module.arrays["weight"].shape[0]
        }
        if "bias" not in module.arrays:
            arguments["bias"] = False
        return Piece({"linear": arguments}, [module])

    def _affine(self, op: Op, shape: Shape) -> Piece:
        """Convert a scale and shift per channel to a layer scale, or to a batch normalization with
        fixed statistics.
        """
        channels = shape[-1]
        arrays = {
            key: np.broadcast_to(value, (channels,))
            for key, value in self._module(op).arrays.items()
        }
        if "bias" not in arrays:
            return Piece({"layer_scale": {}}, [Module(op.name, "affine", arrays)])
        return _norm(op.name, channels, arrays)

    def _pool(self, op: Op, shape: Shape) -> list[Piece]:
        facts = op.facts
        if self._is_mean(op, shape):
            return [plain("global_avgpool")]
        kernel, stride = tuple(facts["kernel_size"]), tuple(facts["stride"])
        if kernel == stride == (1, 1) and facts["padding"] in ((0, 0, 0, 0), "same"):
            return []
        if op.shape is None:
            raise self.refused(op, "must have a shape")
        padding = facts["padding"]
        if padding == "same":
            padding = same_sides(op, shape)
        arguments: dict[str, Any] = {"kernel_size": list(kernel), "stride": list(stride)}
        top, _, left, _ = padding
        dilation = tuple(facts.get("dilation", (1, 1)))
        if dilation != (1, 1):
            if op.kind == "avgpool":
                raise self.refused(op, "must be without dilation", dilation)
            arguments["dilation"] = list(dilation)
        # The smallest padding that works: `ceil_mode` if it pads enough.
        choices: list[dict[str, Any]] = [
            {**without({"padding": _sides(sides)}, padding=[0, 0]), **more}
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
                return [Piece({op.kind: _square(arguments | choice)})]
        raise self.refused(op, "must pad as a pool of a config can", padding)

    def _module(self, op: Op) -> Module:
        if op.module is None or (op.kind == "conv" and "weight" not in op.module.arrays):
            raise self.refused(op, "must have weights")
        return op.module

    def _shapes(self, in_shape: Shape) -> dict[int, Shape]:
        """Return the shape of each op's output in this program, where a global mean is a vector."""
        shapes = {INPUT: in_shape}
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
                shapes[i] = _product_shape([shapes[each] for each in op.inputs])
            elif len(before) == 1:
                shapes[i] = whole[-1:]
            else:
                shapes[i] = whole
        return shapes

    def _is_mean(self, op: Op, before: Shape) -> bool:
        """Whether an average has a single window, the whole map."""
        facts = op.facts
        return (
            op.kind == "avgpool"
            and len(before) == 3
            and tuple(facts["kernel_size"]) == before[:2]
            and facts["padding"] in ((0, 0, 0, 0), "same")
            and op.shape is not None
            and op.shape[:2] == (1, 1)
        )

    def _last_matrix(self, end: int) -> int:
        """Return the layer with one output per class, after which no layer changes their number."""
        found = end
        while found != INPUT and self.ops[found].kind not in ("conv", "linear"):
            op = self.ops[found]
            if len(op.inputs) > 1 or op.kind in ("flatten", "slice"):
                return INPUT
            (found,) = op.inputs
        return found


def _product_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of a product of a map and its gates; a vector is a map of one pixel."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(map(max, zip(*padded, strict=True)))


def _norm(name: str, channels: int, arrays: Mapping[str, Any]) -> Piece:
    """Return a batch normalization that multiplies by `weight` and adds `bias`."""
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
    return Piece({"batchnorm": {"eps": EPS}}, [module])


def _number(value: Any) -> Any:
    """Round a file's float32 number to the decimal that a person would write."""
    if isinstance(value, float):
        short = float(str(np.float32(value)))
        return short if isclose(short, value, rel_tol=1e-7) else value
    return list(value) if isinstance(value, tuple) else value


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _square(arguments: dict[str, Any]) -> dict[str, Any]:
    """Replace pairs of equal numbers by one number."""
    return {
        key: value[0] if isinstance(value, list) and len(set(value)) == 1 else value
        for key, value in arguments.items()
    }


def _sides(sides: Sequence[int]) -> list[int]:
    """Return padding for all four sides, or for height and width if that is the same."""
    top, bottom, left, right = sides
    return [top, left] if (top, left) == (bottom, right) else list(sides)


def without(arguments: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Return arguments without those equal to the given defaults."""
    return {
        key: value
        for key, value in arguments.items()
        if key not in defaults or value != defaults[key]
    }


def _same_areas(layer: AvgPool, op: Op, padding: Sequence[int]) -> bool:
    """Whether an average has the same divisors as the file's, whose padding may differ."""
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
