"""ONNX's operators as ops, and what can be computed before there is an image as constants.

A tensor of the network is a `View` of an op's output; reshapes and transpositions change the view
alone. `ARGUMENTS` names every attribute that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import INPUT, Module, Op
from cnn_cli.interop.limits import Budget
from cnn_cli.interop.readers.arguments import IDLE, READ, Arguments, Only, Table, check_arguments
from cnn_cli.interop.readers.views import (
    BATCH,
    CHANNELS,
    OUTER,
    LayoutError,
    View,
    image_view,
)
from cnn_cli.interop.readers.windows import window_sizes
from cnn_cli.nn.layers import all_layers
from cnn_cli.nn.types import Array, Shape

_WINDOW: Arguments = {
    "auto_pad": READ,
    "dilations": READ,
    "kernel_shape": READ,
    "pads": READ,
    "strides": READ,
}
_POOL: Arguments = {**_WINDOW, "ceil_mode": READ}
_AXES: Arguments = {"axes": READ}
_OLD: Arguments = {"consumed_inputs": IDLE}
_ARITHMETIC: Arguments = {**_OLD, "axis": Only(), "broadcast": Only(0, 1)}
ARGUMENTS: Table = {
    "Add": _ARITHMETIC,
    "AveragePool": {**_POOL, "count_include_pad": READ},
    "BatchNormalization": {
        **_OLD,
        "epsilon": READ,
        "momentum": IDLE,
        "training_mode": Only(0),
        "is_test": Only(1),
        "spatial": Only(1),
    },
    "Cast": {"to": READ, "saturate": IDLE, "round_mode": IDLE},
    "Clip": {**_OLD, "max": READ, "min": READ},
    "Concat": {"axis": READ},
    "Constant": {
        "value": READ,
        "value_float": READ,
        "value_floats": READ,
        "value_int": READ,
        "value_ints": READ,
    },
    "ConstantOfShape": {"value": READ},
    "Conv": {**_WINDOW, "group": READ},
    "Div": _ARITHMETIC,
    "Dropout": {**_OLD, "is_test": IDLE, "ratio": IDLE, "seed": IDLE},
    "Elu": {**_OLD, "alpha": READ},
    "Erf": {},
    "Expand": {},
    "Flatten": {"axis": READ},
    "Floor": {},
    "Gather": {"axis": READ},
    "Gelu": {"approximate": Only("none")},
    "Gemm": {"alpha": READ, "beta": READ, "broadcast": IDLE, "transA": Only(0), "transB": READ},
    "GlobalAveragePool": {},
    "GlobalMaxPool": {},
    "GroupNormalization": {"epsilon": READ, "num_groups": READ, "stash_type": IDLE},
    "HardSigmoid": {**_OLD, "alpha": READ, "beta": READ},
    "HardSwish": {},
    "Identity": {},
    "InstanceNormalization": {**_OLD, "epsilon": READ},
    "LRN": {"alpha": READ, "beta": READ, "bias": READ, "size": READ},
    "LayerNormalization": {"axis": READ, "epsilon": READ, "stash_type": IDLE},
    "LeakyRelu": {**_OLD, "alpha": READ},
    "MatMul": {},
    "MaxPool": {**_POOL, "storage_order": IDLE},
    "Mul": _ARITHMETIC,
    "Neg": _OLD,
    "PRelu": _OLD,
    "Pad": {"mode": Only("constant", "reflect"), "pads": READ, "paddings": READ, "value": Only(0)},
    "ReduceMean": {**_AXES, "keepdims": READ, "noop_with_empty_axes": READ},
    "Pow": {"axis": Only(), "broadcast": Only(0, 1)},
    "Relu": _OLD,
    "Reshape": {**_OLD, "allowzero": READ, "shape": READ},
    "Resize": {
        "antialias": Only(0),
        "axes": READ,
        "coordinate_transformation_mode": READ,
        "cubic_coeff_a": IDLE,
        "exclude_outside": IDLE,
        "extrapolation_value": IDLE,
        "keep_aspect_ratio_policy": Only("stretch"),
        "mode": Only("nearest"),
        "nearest_mode": READ,
    },
    "Selu": {**_OLD, "alpha": Only(1.6732632423543772), "gamma": Only(1.0507009873554805)},
    "Shape": {"start": READ, "end": READ},
    "Sigmoid": _OLD,
    "Slice": {**_AXES, "starts": READ, "ends": READ},
    "Softmax": {"axis": READ},
    "Softplus": {},
    "Softsign": {},
    "Split": {"axis": READ, "split": READ, "num_outputs": IDLE},
    "Sqrt": _OLD,
    "Squeeze": _AXES,
    "Sub": _ARITHMETIC,
    "Sum": _OLD,
    "Tanh": _OLD,
    "Transpose": {"perm": READ},
    "Unsqueeze": _AXES,
    "Upsample": {"mode": Only("nearest"), "scales": READ},
}
CONSTANT_BYTES = 2**20  # of a result that is computed from shapes and constants


def _divided(a: Array, b: Array) -> Array:
    """ONNX's Div, which rounds whole numbers towards 0."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)
    return np.asarray(a / b)


FOLDED: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divided,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Identity": np.asarray,
}


class Operators:
    """The ops of a network that is read operator by operator.

    Args:
        budget: of the file.
        values: its constants by name; computed ones are added.
        opset: of which version its operators are.
    """

    def __init__(self, budget: Budget, values: dict[str, Array], opset: int) -> None:
        self.opset = opset
        self.path = budget.path
        self.budget = budget
        self.values = values
        self.ops: list[Op] = []
        self.views: dict[str, View] = {}
        self.expanded: set[str] = set()  # gates that were made as large as what they multiply
        self.in_shape: Shape = ()
        self.plain = {layer.onnx: kind for kind, layer in all_layers().items() if layer.onnx}

    def begin(self, name: str, batch: int, shape: Shape, channels_last: bool) -> None:
        """The network's input, of images of that shape."""
        view = image_view(INPUT, batch, shape)
        if channels_last:
            view = view.transposed((0, *range(2, len(view.axes)), 1))
        self.views[name] = view
        self.in_shape = shape

    def add(self, node: Any, attributes: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        """Read an operator.

        Args:
            node: it.
            attributes: its plain ones.
            tensors: its attributes that are arrays.

        Raises:
            DataError: it is not known, or does what no layer does.
        """
        word = node.op_type
        name = node.name or f"{word}_{node.output[0]}"
        if node.domain not in ("", "ai.onnx") or word not in ARGUMENTS:
            raise DataError(self.path, f"operator {name} is of a kind that is not known", word)
        given = {**attributes, **tensors}
        check_arguments(self.path, name, word, given, ARGUMENTS[word])
        read = _Operator(self, name, word, given, list(node.input), list(node.output))
        try:
            read.add()
        except LayoutError as error:
            rule = f"operator {name} ({word}) must be a layer of an image"
            raise DataError(self.path, rule, error) from error

    def shape(self, op: int) -> Shape:
        if op == INPUT:
            return self.in_shape
        shape = self.ops[op].shape
        if shape is None:
            raise ValueError("every op that is read has a shape")
        return shape

    def append(self, op: Op) -> int:
        self.ops.append(op)
        return len(self.ops) - 1


class _Operator:
    """One operator while it is read."""

    def __init__(
        self,
        network: Operators,
        name: str,
        word: str,
        given: Mapping[str, Any],
        inputs: list[str],
        outputs: list[str],
    ) -> None:
        self.network = network
        self.name = name
        self.word = word
        self.given = given
        self.inputs = inputs
        self.outputs = outputs

    def add(self) -> None:
        if any(self.outputs[1:]) and self.word != "Split":
            # Dropout's mask and a maximum's places, which nobody reads in a trained network.
            self.outputs = self.outputs[:1]
        if self.word == "Constant" or not any(each in self.network.views for each in self.inputs):
            self._fold()
        elif self.word == "Shape":
            shape = np.array(self._view(0).shape, np.int64)
            self._keep(shape[self.given.get("start", 0) : self.given.get("end")])
        else:
            self._read()

    # Constants.

    def _fold(self) -> None:  # noqa: PLR0912 - a case an operator
        given, word = self.given, self.word
        if word == "Constant":
            (value,) = given.values()
            self._keep(np.asarray(value), large=True)
            return
        missing = [each for each in self.inputs if each and each not in self.network.values]
        if missing:
            raise self._refused("must read constants, or what comes of the image", missing[0])
        inputs = [self.network.values[each] for each in self.inputs if each]
        shapes = np.broadcast_shapes(*(each.shape for each in inputs)) if word in FOLDED else ()
        self.network.budget.take_array(shapes, 8)
        match word:
            case "Cast":
                from onnx import helper

                self.network.budget.take_array(inputs[0].shape, 8)
                self._keep(inputs[0].astype(helper.tensor_dtype_to_np_dtype(given["to"])), True)
            case "Concat":
                self._have_room(sum(each.size for each in inputs))
                self._keep(np.concatenate(inputs, given["axis"]))
            case "ConstantOfShape":
                self._have_room(prod(inputs[0].tolist()))
                value = np.asarray(given.get("value", np.zeros(1, np.float32)))
                self._keep(np.full(inputs[0].tolist(), value.reshape(-1)[0]))
            case "Gather":
                axis = given.get("axis", 0)
                self._have_room(inputs[1].size * inputs[0].size // max(inputs[0].shape[axis], 1))
                self._keep(np.take(inputs[0], inputs[1], axis))
            case "Reshape":
                shape = given.get("shape") or inputs[1].tolist()
                if not given.get("allowzero", 0):
                    shape = [inputs[0].shape[i] if n == 0 else n for i, n in enumerate(shape)]
                self._keep(inputs[0].reshape(shape), True)
            case "Shape":
                self._keep(np.array(inputs[0].shape, np.int64))
            case "Slice":
                whole = [slice(None)] * inputs[0].ndim
                for axis, start, stop, step in self._slices(inputs[0].ndim):
                    whole[axis] = slice(start, stop, step)
                self._keep(inputs[0][tuple(whole)])
            case "Squeeze":
                axes = self._axes(1)
                self._keep(np.squeeze(inputs[0], None if axes is None else tuple(axes)), True)
            case "Transpose":
                self._keep(inputs[0].transpose(given.get("perm")), True)
            case "Unsqueeze":
                self._keep(np.expand_dims(inputs[0], tuple(self._axes(1) or ())), True)
            case _ if word in FOLDED:
                self._keep(FOLDED[word](*inputs), True)
            case _:
                raise self._refused("must not be of constants alone", word)

    def _have_room(self, count: int) -> None:
        """Refuse to make more numbers than a shape has, before they are made."""
        if 8 * count > CONSTANT_BYTES:
            raise self._refused("must not make so many numbers", f"{count:,}")
        self.network.budget.take(8 * count)

    def _keep(self, array: Array, large: bool = False) -> None:
        """An output that is a constant; `large` where its inputs account for it."""
        if not large and array.nbytes > CONSTANT_BYTES:
            raise self._refused("must not make so many numbers", array.size)
        self.network.values[self.outputs[0]] = array

    # What it reads.

    def _view(self, i: int) -> View:
        name = self.inputs[i] if i < len(self.inputs) else ""
        if name not in self.network.views:
            raise self._refused("must read what comes of the image", name or "nothing")
        if name in self.network.expanded and self.word not in ("Mul", "Identity"):
            raise self._refused("must not read what is repeated, apart from a product", name)
        return self.network.views[name]

    def _constant(self, i: int) -> Array | None:
        """An input that is a constant; None where it is left out."""
        name = self.inputs[i] if i < len(self.inputs) else ""
        if not name:
            return None
        if name not in self.network.values:
            raise self._refused("must have weights and arguments that are constants", name)
        return self.network.values[name]

    def _needed(self, i: int) -> Array:
        found = self._constant(i)
        if found is None:
            raise self._refused(f"must have an input {i + 1}", "none")
        return found

    def _axes(self, i: int) -> list[int] | None:
        """Axes of an attribute, as of older files, or of an input."""
        if "axes" in self.given:
            return list(self.given["axes"])
        found = self._constant(i)
        return None if found is None else found.reshape(-1).tolist()

    def _map(self, view: View) -> int:
        """The op whose output a view is, as an image."""
        if not view.is_map():
            raise LayoutError("its input must be images, channels first")
        return view.op

    def _settled(self, view: View) -> View:
        """An image whose channels have been dealt out, as the output of a shuffle."""
        groups = view.dealt()
        if groups is None or not view.is_map():
            return view
        shape, facts = self._shape_of(view), {"groups": groups}
        op = Op("channel_shuffle", self.name, (view.op,), facts, shape=shape)
        return image_view(self.network.append(op), view.batch, shape)

    def _vector(self, view: View) -> tuple[int, str]:
        """The op whose output a view is, as a vector, and in which order its numbers are."""
        if len(view.axes) != 2 or view.labels(0) != [BATCH]:
            raise LayoutError("its input must be vectors, one an image")
        labels = view.labels(1)
        for word, order in (("chw", "czyx"), ("hwc", "zyxc")):
            if labels == [label for label in order if label in labels]:
                if len(self.network.shape(view.op)) == 1:
                    return view.op, word
                op = Op("flatten", self.name, (view.op,), shape=(view.shape[1],))
                return self.network.append(op), word
        raise LayoutError("its input must be vectors of whole images")

    def _shape_of(self, view: View) -> Shape:
        """An image's shape, as ops have it."""
        _, c, *space = view.shape
        return (*space, c)

    def _refused(self, rule: str, got: object) -> DataError:
        return DataError(self.network.path, f"operator {self.name} ({self.word}) {rule}", got)

    # What it makes.

    def _alike(
        self, kind: str, facts: Mapping[str, Any] | None = None, module: Module | None = None
    ) -> None:
        """An op that changes each number by itself, or each channel's."""
        view = self._view(0)
        shape = self.network.shape(view.op)
        op = self.network.append(Op(kind, self.name, (view.op,), facts or {}, module, shape))
        self._give(View(op, view.axes))

    def _give(self, view: View, output: int = 0) -> None:
        self.network.views[self.outputs[output]] = view

    def _make(
        self,
        kind: str,
        inputs: tuple[int, ...],
        shape: Shape,
        facts: Mapping[str, Any] | None = None,
        module: Module | None = None,
    ) -> None:
        """An op whose output is an image, channels first, or a vector."""
        op = self.network.append(Op(kind, self.name, inputs, facts or {}, module, shape))
        self._give(image_view(op, self._batch(), shape))

    def _batch(self) -> int:
        views = self.network.views
        return next(views[each].batch for each in self.inputs if each in views)

    def _read(self) -> None:  # noqa: PLR0912, PLR0915 - a case an operator
        given = self.given
        match self.word:
            case "Conv":
                self._convolution()
            case "BatchNormalization":
                if len(self._view(0).axes) > 1 and self._view(0).labels(1) not in ([], [CHANNELS]):
                    raise LayoutError("its input must have channels as its second axis")
                arrays = {
                    key: self._needed(i + 1)
                    for i, key in enumerate(("weight", "bias", "running_mean", "running_var"))
                }
                module = Module(self.name, "norm", arrays)
                self._alike("batchnorm", {"eps": given.get("epsilon", 1e-5)}, module)
            case "Gemm":
                self._gemm()
            case "MatMul":
                self._product_of_matrices()
            case "PRelu":
                numbers = self._needed(1)
                if self.network.opset < 7 and numbers.ndim == 1:  # then of the second axis
                    numbers = numbers.reshape(-1, *(1,) * (len(self._view(0).axes) - 2))
                slope = self._per_channel(self._view(0), numbers)
                if slope is None:
                    raise self._refused("must have a slope, or one a channel", "others")
                self._alike("prelu", module=Module(self.name, "affine", {"weight": slope}))
            case "MaxPool" | "AveragePool":
                self._pool()
            case "GlobalMaxPool":
                view = self._view(0)
                entry, size = self._map(view), self._shape_of(view)[:-1]
                facts = {
                    "kernel_size": size,
                    "stride": size,
                    "dilation": (1, 1),
                    "padding": (0, 0, 0, 0),
                    "ceil_mode": False,
                }
                channels = self._shape_of(view)[-1]
                self._make("maxpool", (entry,), (1, 1, channels), facts)
            case "GlobalAveragePool":
                self._mean(range(2, len(self._view(0).axes)), keep=True)
            case "ReduceMean":
                axes = self._axes(1)
                if axes is None and given.get("noop_with_empty_axes", 0):
                    self._give(self._view(0))
                else:
                    rank = len(self._view(0).axes)
                    self._mean(axes or range(rank), keep=bool(given.get("keepdims", 1)))
            case "Clip":
                self._clip()
            case "HardSigmoid":
                slope, shift = given.get("alpha", 0.2), given.get("beta", 0.5)
                if not np.allclose((slope, shift), (1 / 6, 1 / 2)):
                    raise self._refused("must have a slope of 1/6 and a shift of 1/2", slope)
                self._alike("hardsigmoid")
            case "LeakyRelu":
                self._alike("leaky_relu", {"negative_slope": given.get("alpha", 0.01)})
            case "Elu":
                self._alike("elu", {"alpha": given.get("alpha", 1.0)})
            case "Neg":
                self._alike("scale", {"factor": -1.0})
            case "Erf":
                self._alike("erf")
            case "Add" | "Sub" | "Mul" | "Div":
                self._arithmetic()
            case "Sum":
                self._sum()
            case "Concat":
                self._concat()
            case "Softmax":
                view = self._view(0)
                axis = given.get("axis", -1 if self.network.opset >= 13 else 1) % len(view.axes)
                if len(view.axes) != 2 or axis != 1:
                    raise self._refused("must be of a vector's scores", f"axis {axis}")
                self._alike("softmax")
            case "LRN":
                self._lrn()
            case "Pow":
                exponent = self._needed(1)
                if exponent.size != 1:
                    raise self._refused("must have one exponent", exponent.size)
                self._alike("power", {"exponent": exponent.item()})
            case "Resize" | "Upsample":
                self._upsample()
            case "LayerNormalization":
                self._layernorm()
            case "GroupNormalization" | "InstanceNormalization":
                self._groupnorm()
            case "Pad":
                self._pad()
            case "Slice":
                self._slice()
            case "Split":
                self._split()
            case "Cast":
                self._cast()
            case "Dropout":
                if bool(np.any(self._constant(2))):
                    raise self._refused("must not be in training", "training_mode")
                self._alike("dropout")
            case "Identity" | "Expand":
                self._give(self._view(0))
                if self.word == "Expand" or self.inputs[0] in self.network.expanded:
                    self.network.expanded.add(self.outputs[0])
            case "Reshape":
                shape = given["shape"] if "shape" in given else self._needed(1).tolist()
                view = self._view(0).reshaped(shape, bool(given.get("allowzero", 0)))
                self._give(self._settled(view))
            case "Flatten":
                view, axis = self._view(0), given.get("axis", 1)
                at = axis % len(view.axes) if axis != len(view.axes) else axis
                self._give(view.reshaped([prod(view.shape[:at]), prod(view.shape[at:])]))
            case "Gather":
                self._gather()
            case "Squeeze":
                self._give(self._view(0).squeezed(self._axes(1)))
            case "Unsqueeze":
                self._give(self._view(0).unsqueezed(self._axes(1) or ()))
            case "Transpose":
                view = self._view(0)
                self._give(view.transposed(given.get("perm", range(len(view.axes))[::-1])))
            case word if word in self.network.plain:
                self._alike(self.network.plain[word])
            case word:
                raise self._refused("must be of constants alone", word)

    def _convolution(self) -> None:
        view, weight, bias = self._view(0), self._needed(1), self._constant(2)
        if weight.ndim == 3 and view.labels(1) == []:
            self._over_channels(view, weight, bias)
            return
        entry = self._map(view)
        facts = self._window(weight.shape[2:])
        groups = self.given.get("group", 1)
        if weight.shape[1] * groups != view_channels(view):
            raise LayoutError(f"its weights must be for {view_channels(view)} channels")
        space = view.shape[2:]
        arrays = {"weight": weight} | ({} if bias is None else {"bias": bias})
        shape = (*window_sizes(space, facts), weight.shape[0])
        facts["groups"] = groups
        module = Module(self.name, "conv", arrays)
        self._make("conv", (entry,), shape, facts, module)

    def _over_channels(self, view: View, weight: Array, bias: Array | None) -> None:
        """A convolution of one dimension, along the channels' means (n, 1, c)."""
        size = weight.shape[-1]
        around = (size // 2, (size - 1) // 2)
        plain = {"strides": (1,), "dilations": (1,), "group": 1, "pads": around}
        plain["kernel_shape"] = (size,)
        given = {"pads": (0, 0), **self.given}
        if given.pop("auto_pad", "NOTSET") not in ("", "NOTSET"):
            raise self._refused("must have pads in numbers", self.given["auto_pad"])
        for key, value in given.items():
            if value != plain[key]:
                raise self._refused(f"must have {key} {plain[key]}, along channels", value)
        if len(view.axes) != 3 or view.labels(2) != [CHANNELS] or bias is not None:
            raise LayoutError("it must be along channels, (n, 1, c), without bias")
        if weight.shape[:2] != (1, 1) or len(self.network.shape(view.op)) != 1:
            raise LayoutError("it must be of one channel in and out, of means")
        module = Module(self.name, "other", {"weight": weight})
        self._alike("channel_conv", {"kernel_size": size}, module)

    def _lrn(self) -> None:
        given, view = self.given, self._view(0)
        self._map(view)
        facts = {
            "size": given["size"],
            "alpha": given.get("alpha", 1e-4),
            "beta": given.get("beta", 0.75),
            "k": given.get("bias", 1.0),
        }
        if facts["size"] % 2 == 0:
            raise self._refused("must have an odd size", facts["size"])
        self._alike("lrn", facts)

    def _upsample(self) -> None:
        """Each pixel as a block of pixels; other ways to the same blocks are told by places."""
        view = self._view(0)
        entry, shape = self._map(view), self._shape_of(view)
        if len(view.axes) != 4:
            raise LayoutError("its input must be images, channels first")
        scales, sizes = self._scales(), self._sizes_of_all()
        if sizes is None:
            factors = [1.0] * 4 if scales is None else scales
            sizes = [int(n * factor) for n, factor in zip(view.shape, factors, strict=True)]
        else:
            factors = [a / b for a, b in zip(sizes, view.shape, strict=True)]
        blocks = [round(factor) for factor in factors]
        whole = all(
            n * block == size for n, block, size in zip(view.shape, blocks, sizes, strict=True)
        )
        if blocks[:2] != [1, 1] or not whole or min(blocks) < 1 or factors != blocks:
            raise self._refused("must make rows and columns whole times as many", tuple(factors))
        if self.word == "Resize":
            for axis in (2, 3):
                self._check_places(blocks[axis], view.shape[axis])
        h, w, c = shape
        facts = {"scale": (blocks[2], blocks[3])}
        self._make("upsample", (entry,), (h * blocks[2], w * blocks[3], c), facts)

    def _scales(self) -> list[float] | None:
        """Factors of all axes, of a Resize or an Upsample; None where it has none."""
        if "scales" in self.given:
            return list(self.given["scales"])
        at = 1 if self.word == "Upsample" or self.network.opset < 11 else 2
        found = self._constant(at)
        return None if found is None or not found.size else self._of_all(found, 1.0)

    def _sizes_of_all(self) -> list[int] | None:
        if self.word == "Upsample" or self.network.opset < 11:
            return None
        found = self._constant(3)
        if found is None or not found.size:
            return None
        sizes = zip(self._of_all(found, 0), self._view(0).shape, strict=True)
        return [int(n) if n else before for n, before in sizes]

    def _of_all(self, found: Array, idle: Any) -> list[Any]:
        """Values of some axes as values of all."""
        axes = self.given.get("axes", range(found.size))
        values = dict(zip([axis % 4 for axis in axes], found.reshape(-1).tolist(), strict=True))
        return [values.get(axis, idle) for axis in range(4)]

    def _check_places(self, block: int, size: int) -> None:
        """Refuse a Resize that does not take each place as often, in order."""
        mode = self.given.get("coordinate_transformation_mode", "half_pixel")
        rounding = self.given.get("nearest_mode", "round_prefer_floor")
        if self.network.opset < 11:  # which had no modes
            mode, rounding = "asymmetric", "floor"
        self._have_room(size * block)
        places = np.arange(size * block)
        at: Array
        match mode:
            case "asymmetric":
                at = places / block
            case "half_pixel" | "half_pixel_symmetric":
                at = (places + 0.5) / block - 0.5
            case "pytorch_half_pixel":
                at = (places + 0.5) / block - 0.5 if len(places) > 1 else 0.0 * places
            case "align_corners":
                at = places * ((size - 1) / max(len(places) - 1, 1))
            case _:
                raise self._refused("must have places of another mode", mode)
        match rounding:
            case "floor":
                found = np.floor(at)
            case "ceil":
                found = np.ceil(at)
            case "round_prefer_floor":
                found = np.ceil(at - 0.5)
            case _:
                found = np.floor(at + 0.5)
        if not np.array_equal(np.clip(found, 0, size - 1), places // block):
            raise self._refused("must repeat each row and column", f"{mode}, {rounding}")

    def _gemm(self) -> None:
        entry, order = self._vector(self._view(0))
        weight, bias = self._needed(1), self._constant(2)
        if not self.given.get("transB", 0):
            weight = weight.T
        alpha, beta = self.given.get("alpha", 1.0), self.given.get("beta", 1.0)
        self._linear(
            entry,
            order,
            weight if alpha == 1 else weight * alpha,
            bias if bias is None or beta == 1 else bias * beta,
        )

    def _linear(self, entry: int, order: Any, weight: Array, bias: Array | None) -> None:
        arrays = {"weight": weight}
        if bias is not None:
            arrays["bias"] = np.broadcast_to(bias.reshape(-1), weight.shape[:1])
        if weight.ndim != 2 or weight.shape[1:] != self.network.shape(entry)[-1:]:
            raise LayoutError("its weights must be a matrix for its input")
        module = Module(self.name, "linear", arrays, order)
        self._make("linear", (entry,), weight.shape[:1], {}, module)

    def _product_of_matrices(self) -> None:
        if self.inputs[0] in self.network.values:
            self._resample(self._needed(0), self._view(1), -2, "rows")
            return
        view, weight = self._view(0), self._needed(1)
        if len(view.axes) == 2:
            self._linear(*self._vector(view), weight.T, None)
            return
        if weight.ndim == 2 and view.labels(-1) == ["x"]:
            self._resample(weight.T, view, -1, "columns")
            return
        if weight.ndim != 2 or view.channel_axis() != len(view.axes) - 1:
            raise LayoutError("its matrix must be of channels")
        # Channels last, as 1×1 convolutions of transformers' authors are.
        arrays = {"weight": weight.T[:, :, None, None]}
        facts = {
            "kernel_size": (1, 1),
            "stride": (1, 1),
            "dilation": (1, 1),
            "padding": (0, 0, 0, 0),
            "groups": 1,
        }
        shape = (*self.network.shape(view.op)[:-1], weight.shape[1])
        module = Module(self.name, "conv", arrays)
        op = self.network.append(Op("conv", self.name, (view.op,), facts, module, shape))
        self._give(view.with_channels(op, weight.shape[1], len(view.axes) - 1))

    def _resample(self, matrix: Array, view: View, axis: int, kind: str) -> None:
        """Rows or columns as weighted sums of rows or columns, as adaptive pooling is written."""
        entry = self._map(view)
        shape = list(self.network.shape(entry))
        if matrix.ndim != 2 or len(shape) != 3 or matrix.shape[1] != view.shape[axis]:
            raise LayoutError("its matrix must be of rows or columns")
        shape[0 if kind == "rows" else 1] = matrix.shape[0]
        self._make(kind, (entry,), tuple(shape), {"matrix": matrix})

    def _pool(self) -> None:
        view, given = self._view(0), self.given
        facts = self._window(given["kernel_shape"])
        facts["ceil_mode"] = bool(given.get("ceil_mode", 0))
        kind = "maxpool" if self.word == "MaxPool" else "avgpool"
        if kind == "avgpool":
            facts["count_include_pad"] = bool(given.get("count_include_pad", 0))
        entry = self._map(view)
        shape = (*window_sizes(view.shape[2:], facts), view_channels(view))
        self._make(kind, (entry,), shape, facts)

    def _mean(self, axes: Sequence[int], *, keep: bool) -> None:
        view = self._view(0)
        rank = len(view.axes)
        gone = {axis % rank for axis in axes}
        labels = {label for axis in gone for label in view.labels(axis)}
        space = {label for axis in range(rank) for label in view.labels(axis)} - {BATCH}
        if labels != {label for label in space if label in ("z", "y", "x")}:
            raise self._refused("must be a mean over the map", sorted(gone))
        kept = [() if i in gone else axis for i, axis in enumerate(view.axes)]
        if not keep:
            kept = [axis for i, axis in enumerate(kept) if i not in gone]
        shape = self.network.shape(view.op)[-1:]
        op = self.network.append(Op("global_avgpool", self.name, (view.op,), shape=shape))
        self._give(View(op, tuple(kept)))

    def _clip(self) -> None:
        low, high = self._constant(1), self._constant(2)
        bounds = [
            self.given.get(key) if each is None else each.item()
            for key, each in (("min", low), ("max", high))
        ]
        low_, high_ = bounds
        if low_ == 0 and high_ == 6:
            self._alike("relu6")
        elif low_ == 0 and (high_ is None or high_ > 1e37):
            self._alike("relu")
        else:
            self._alike("clip", {"min": low_, "max": high_})

    def _per_channel(self, view: View, values: Array) -> Array | None:
        """A constant's numbers, one for all or one a channel; None where there are others."""
        if values.size == 1:
            return values.reshape(1)
        rank = len(view.axes)
        if values.ndim > rank:
            return None
        shape = (1,) * (rank - values.ndim) + values.shape
        axis = max(range(rank), key=lambda i: shape[i])
        whole = view.shape[axis] == shape[axis] == values.size
        return values.reshape(-1) if whole and view.channel_axis() == axis else None

    def _arithmetic(self) -> None:
        names = self.inputs
        constants = [i for i, each in enumerate(names) if each in self.network.values]
        if not constants:
            self._of_two()
            return
        at = constants[0]
        view = self._view(1 - at)
        array = np.asarray(self._needed(at))
        values = self._per_channel(view, array)
        size = view.shape[2:]
        of_pixels = view.is_map() and array.shape[-2:] == size and array.size == prod(size)
        if values is None and self.word == "Mul" and of_pixels:
            facts, shape = {"factors": array.reshape(size)}, self.network.shape(view.op)
            op = Op("pixel_scale", self.name, (view.op,), facts, shape=shape)
            self._give(View(self.network.append(op), view.axes))
            return
        if values is None:
            raise self._refused("must have one number, or one a channel", "others")
        values = values.astype(np.float64)
        if self.word in ("Mul", "Div"):
            if self.word == "Div" and at == 0:
                raise self._refused("must not divide by the image", "a constant as dividend")
            self._scaled(view, values if self.word == "Mul" else 1 / values, None)
        elif self.word == "Sub" and at == 0:
            self._scaled(view, np.full(1, -1.0), values)
        else:
            self._scaled(view, None, values if self.word == "Add" else -values)

    def _scaled(self, view: View, weight: Array | None, bias: Array | None) -> None:
        """An image times some numbers, plus others: one for all, or one a channel."""
        shape = self.network.shape(view.op)
        entry = view.op
        for kind, key, numbers in (("scale", "factor", weight), ("shift", "term", bias)):
            if numbers is not None and numbers.size == 1:
                facts = {key: numbers.item()}
                entry = self.network.append(Op(kind, self.name, (entry,), facts, shape=shape))
            elif numbers is not None:
                arrays = {"weight" if kind == "scale" else "bias": numbers}
                module = Module(self.name, "affine", arrays)
                op = Op("affine", self.name, (entry,), module=module, shape=shape)
                entry = self.network.append(op)
        self._give(View(entry, view.axes))

    def _of_two(self) -> None:
        one, other = self._view(0), self._view(1)
        if self.word == "Sub":
            raise self._refused("must have a constant among its inputs", "two tensors")
        if one.axes == other.axes:
            kind = {"Add": "add", "Mul": "excite", "Div": "quotient"}[self.word]
            op = Op(kind, self.name, (one.op, other.op), shape=self.network.shape(one.op))
            self._give(View(self.network.append(op), one.axes))
            return
        if len(one.axes) != len(other.axes) or self.word != "Mul":
            raise LayoutError("its inputs must be of one shape")
        for x, gate in ((one, other), (other, one)):
            if all(b in (a, ()) for a, b in zip(x.axes, gate.axes, strict=True)):
                op = Op("excite", self.name, (x.op, gate.op), shape=self.network.shape(x.op))
                self._give(View(self.network.append(op), x.axes))
                return
        raise LayoutError("its inputs must be of one shape, or one a gate of the other")

    def _sum(self) -> None:
        views = [self._view(i) for i in range(len(self.inputs))]
        if any(view.axes != views[0].axes for view in views):
            raise LayoutError("its inputs must be of one shape")
        entry = views[0].op
        for view in views[1:]:
            op = Op("add", self.name, (entry, view.op), shape=self.network.shape(entry))
            entry = self.network.append(op)
        self._give(View(entry, views[0].axes))

    def _concat(self) -> None:
        views = [self._view(i) for i in range(len(self.inputs))]
        rank = len(views[0].axes)
        axis = self.given["axis"] % rank
        if rank == 2 and axis == 1 and any(len(view.axes[1]) > 1 for view in views):
            ends = [self._vector(view) for view in views]
            if any(order != "chw" for _, order in ends):
                raise LayoutError("vectors that it joins must be channels first")
            length = sum(view.shape[1] for view in views)
            self._make("concat", tuple(op for op, _ in ends), (length,))
            return
        rests = [[each for i, each in enumerate(view.axes) if i != axis] for view in views]
        if any(rest != rests[0] for rest in rests) or any(
            view.labels(axis) not in ([], [CHANNELS]) for view in views
        ):
            raise LayoutError("what it joins must be channels")
        if any(CHANNELS in label for each in rests[0] for label, _ in each):
            raise LayoutError("what it joins must be channels")
        count = sum(view.shape[axis] for view in views)
        inputs = tuple(view.op for view in views)
        shape = (*self.network.shape(inputs[0])[:-1], count)
        op = self.network.append(Op("concat", self.name, inputs, shape=shape))
        self._give(views[0].with_channels(op, count, axis))

    def _layernorm(self) -> None:
        view = self._view(0)
        rank = len(view.axes)
        if self.given.get("axis", -1) % rank != rank - 1 or view.labels(-1) not in (
            [],
            [CHANNELS],
        ):
            raise LayoutError("it must be over channels, the last axis")
        arrays = {"weight": self._needed(1)}
        bias = self._constant(2)
        arrays["bias"] = np.zeros_like(arrays["weight"]) if bias is None else bias
        module = Module(self.name, "affine", arrays)
        self._alike("layernorm", {"eps": self.given.get("epsilon", 1e-5)}, module)

    def _groupnorm(self) -> None:
        """Of groups of channels, which an instance's norm has as its second axis."""
        view = self._view(0)
        channels = self.network.shape(view.op)[-1]
        groups = self.given.get("num_groups", view.shape[1] if len(view.axes) > 1 else 0)
        labels = [label for axis in view.axes for label, _ in axis if label != BATCH]
        if self.word == "GroupNormalization" and not view.is_map():
            raise LayoutError("its input must be images, channels first")
        if labels[:1] not in ([CHANNELS], [OUTER]) or view.labels(0) != [BATCH]:
            raise LayoutError("it must be over groups of channels and the whole map")
        arrays = {}
        for key, i in (("weight", 1), ("bias", 2)):
            values = self._needed(i)
            each = self.word == "GroupNormalization" and self.network.opset >= 21
            count = channels if each else groups
            if values.size != count or channels % groups:
                raise LayoutError(f"it must have {count} numbers")
            arrays[key] = np.repeat(values.reshape(-1), channels // values.size)
        facts = {"num_groups": groups, "eps": self.given.get("epsilon", 1e-5)}
        self._alike("groupnorm", facts, Module(self.name, "affine", arrays))

    def _pad(self) -> None:
        view = self._view(0)
        rank = len(view.axes)
        pads = self.given.get("pads", self.given.get("paddings"))
        pads = self._needed(1).tolist() if pads is None else list(pads)
        value = self._constant(2)
        if value is not None and value.item() != 0:
            raise self._refused("must pad with zeros", value.item())
        axes = self._constant(3)
        at = range(rank) if axes is None else [axis % rank for axis in axes.tolist()]
        half = len(pads) // 2
        sides = dict(zip(at, zip(pads[:half], pads[half:], strict=True), strict=True))
        if not any(pads):
            self._give(view)
            return
        if min(pads) < 0 or any(any(pair) and axis < 2 for axis, pair in sides.items()):
            raise self._refused("must pad rows and columns alone", tuple(pads))
        mode = self.given.get("mode", "constant")
        entry = self._map(view)
        if rank != 4:
            raise LayoutError("its input must be images, channels first")
        padding = (sides.get(2, (0, 0)), sides.get(3, (0, 0)))
        h, w, c = self._shape_of(view)
        shape = (h + sum(padding[0]), w + sum(padding[1]), c)
        if mode == "constant":
            self._make("zeropad", (entry,), shape, {"padding": padding})
        else:
            facts = {"padding": (*padding[0], *padding[1]), "padding_mode": mode}
            self._make("pad", (entry,), shape, facts)

    def _slices(self, rank: int) -> list[tuple[int, int, int, int]]:
        """Axis, start, stop and step of each axis that is cut."""
        given = self.given
        if "starts" in given:
            starts, ends = list(given["starts"]), list(given["ends"])
            axes, steps = given.get("axes"), None
        else:
            starts, ends = self._needed(1).tolist(), self._needed(2).tolist()
            axes, steps = self._constant(3), self._constant(4)
        axes = list(range(len(starts))) if axes is None else np.asarray(axes).tolist()
        counts = [1] * len(starts) if steps is None else steps.tolist()
        at = [axis % rank for axis in axes]
        return list(zip(at, starts, ends, counts, strict=True))

    def _slice(self) -> None:
        view = self._view(0)
        for axis, start, end, step in self._slices(len(view.axes)):
            length = view.shape[axis]
            found = range(length)[start:end:step]
            if found == range(length):
                continue
            if view.channel_axis() != axis or step != 1 or not found:
                raise self._refused("must take channels one after another", f"axis {axis}")
            view = self._part(view, axis, found.start, found.stop)
        self._give(view)

    def _part(self, view: View, axis: int, start: int, stop: int) -> View:
        shape = (*self.network.shape(view.op)[:-1], stop - start)
        facts = {"start": start, "stop": stop}
        op = self.network.append(Op("part", self.name, (view.op,), facts, shape=shape))
        return view.with_channels(op, stop - start, axis)

    def _split(self) -> None:
        view = self._view(0)
        axis = self.given.get("axis", 0) % len(view.axes)
        if view.channel_axis() != axis:
            raise self._refused("must split channels", f"axis {axis}")
        sizes = self.given.get("split")
        if sizes is None:
            found = self._constant(1)
            part = ceil_div(view.shape[axis], len(self.outputs))
            sizes = [part] * len(self.outputs) if found is None else found.tolist()
        start = 0
        for i, size in enumerate(sizes):
            stop = min(start + size, view.shape[axis])
            self._give(self._part(view, axis, start, stop), i)
            start = stop

    def _gather(self) -> None:
        view, places = self._view(0), np.asarray(self._needed(1))
        axis = self.given.get("axis", 0) % len(view.axes)
        length = view.shape[axis]
        if not np.array_equal(places.reshape(-1), np.arange(length)):
            raise self._refused("must take all, in their order", f"axis {axis}")
        shape = (*view.shape[:axis], *places.shape, *view.shape[axis + 1 :])
        self._give(view.reshaped(shape))

    def _cast(self) -> None:
        from onnx import helper

        view = self._view(0)
        if helper.tensor_dtype_to_np_dtype(self.given["to"]).kind != "f":
            raise self._refused("must be to floating point", self.given["to"])
        self._give(view)

    def _window(self, kernel: Any) -> dict[str, Any]:
        given = self.given
        if len(kernel) != 2:
            rule = f"{self.name} must work on images"
            raise DataError(self.network.path, rule, f"{len(kernel)} dimensions")
        if tuple(given.get("kernel_shape", kernel)) != tuple(kernel):
            raise self._refused("must have a kernel of its weights' size", given["kernel_shape"])
        auto = given.get("auto_pad", "NOTSET")
        if auto not in ("NOTSET", "", "VALID", "SAME_UPPER"):
            raise self._refused("must not pad at the start alone", auto)
        top, left, bottom, right = (
            given.get("pads", (0, 0, 0, 0)) if auto in ("NOTSET", "") else (0, 0, 0, 0)
        )
        return {
            "kernel_size": tuple(kernel),
            "stride": tuple(given.get("strides", (1, 1))),
            "dilation": tuple(given.get("dilations", (1, 1))),
            "padding": "same" if auto == "SAME_UPPER" else (top, bottom, left, right),
        }


def view_channels(view: View) -> int:
    """The channels of an image, or the length of a vector."""
    return view.shape[1]
