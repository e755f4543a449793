"""The ops of a Keras network under construction, with arrays in PyTorch's layouts.

In Keras, a convolution's kernel is (h, w, in, out), a depthwise one's (h, w, in, multiplier), a
dense layer's (in, out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import INPUT, Kind, Module, Op
from cnn_cli.interop.readers.windows import window_sizes
from cnn_cli.nn.types import Array, Shape

NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "alpha": "weight",
    "bias": "bias",
}
ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "swish": "silu",
    "silu": "silu",
    "gelu": "gelu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "elu": "elu",
    "selu": "selu",
    "softplus": "softplus",
    "softsign": "softsign",
    "softmax": "softmax",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hardswish",
    "hard_swish": "hardswish",
    "leaky_relu": "leaky_relu",
}
# Elementwise ops, for which the order of a vector does not matter.
ALIKE = (*ACTIVATIONS.values(), "dropout", "identity", "scale", "shift", "flatten")


class KerasNetwork:
    """The ops of a network so far.

    Args:
        path: the file, for messages.
        in_shape: (rows, columns, channels) of an image, if the file does not give them.
    """

    def __init__(self, path: Path, in_shape: Shape | None) -> None:
        self.path = path
        self.ops: list[Op] = []
        self.in_shape = in_shape
        self._flat: dict[int, Shape] = {}  # shapes of flattened maps, rows and columns first

    def _refused(self, name: str, word: str, rule: str, got: object = None) -> DataError:
        return DataError(self.path, f"layer {name} ({word}) {rule}", got)

    def _shape(self, op: int) -> Shape | None:
        return self.in_shape if op == INPUT else self.ops[op].shape

    def _op(
        self,
        kind: str,
        name: str,
        inputs: tuple[int, ...],
        facts: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
        *,
        count: int | None = None,
        word: str = "",
    ) -> int:
        """Append an op with Keras' arrays; `count` is its number of channels, if known."""
        found = _torch_arrays(kind, word, arrays or {})
        shapes = [self._shape(each) for each in inputs]
        shape = self._out_shape(name, kind, shapes, facts or {}, count)
        return self._append(kind, name, inputs, facts or {}, found, shape)

    def _append(
        self,
        kind: str,
        name: str,
        inputs: tuple[int, ...],
        facts: Mapping[str, Any],
        arrays: dict[str, Array],
        shape: Shape | None,
    ) -> int:
        if kind == "affine" and shape is None:
            shape = self._shape(inputs[0])
        order = self._order(kind, name, inputs)
        if order is not None and kind == "batchnorm":
            arrays = {
                key: value.reshape(order).transpose(2, 0, 1).reshape(-1)
                for key, value in arrays.items()
            }
        kinds: dict[str, Kind] = {"conv": "conv", "linear": "linear", "batchnorm": "norm"}
        module = None
        if arrays:
            module = Module(name, kinds.get(kind, "affine"), arrays, flattens="hwc")
        self.ops.append(Op(kind, name, inputs, facts, module, shape))
        at = len(self.ops) - 1
        if kind == "flatten" and order is None:
            (source,) = inputs
            before = self._shape(source)
            if before is not None and len(before) == 3 and prod(before[:2]) > 1:
                order = before
        if order is not None and kind != "linear":
            self._flat[at] = order
        return at

    def _order(self, kind: str, name: str, inputs: tuple[int, ...]) -> Shape | None:
        """Return the shape of the map from which a channels-last vector was flattened."""
        orders = {self._flat.get(each) for each in inputs}
        if orders == {None}:
            return None
        if len(inputs) > 1 or kind not in (*ALIKE, "batchnorm", "linear"):
            rule = f"layer {name} must not read a map that was flattened"
            raise DataError(self.path, rule, kind)
        return orders.pop()

    def _out_shape(  # noqa: PLR0911 - a case a kind
        self,
        name: str,
        kind: str,
        shapes: Sequence[Shape | None],
        facts: Mapping[str, Any],
        count: int | None,
    ) -> Shape | None:
        """Return the shape of an op's output; None if the image size is unknown."""
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes):
            return None
        (shape, *_) = known
        match kind:
            case "conv" | "maxpool" | "avgpool" if len(shape) == 3:
                try:
                    sizes = window_sizes(shape[:2], facts)
                except ValueError as error:
                    raise DataError(self.path, f"layer {name} must fit its input", error) from error
                return (*sizes, shape[-1] if count is None else count)
            case "linear" | "conv" if count is not None:
                return (count,)
            case "zeropad" if len(shape) == 3:
                (top, bottom), (left, right) = facts["padding"]
                return (shape[0] + top + bottom, shape[1] + left + right, shape[2])
            case "upsample" if len(shape) == 3:
                return (shape[0] * facts["scale"][0], shape[1] * facts["scale"][1], shape[2])
            case "global_avgpool":
                return shape[-1:]
            case "flatten":
                return (prod(shape),)
            case "concat":
                return (*max(known, key=len)[:-1], sum(each[-1] for each in known))
            case "add" | "excite":
                return max(known, key=lambda each: (len(each), prod(each)))
        return shape


def _torch_arrays(kind: str, word: str, found: Mapping[str, Array]) -> dict[str, Array]:
    """Convert a layer's arrays to PyTorch's names and layouts."""
    arrays = {NAMES.get(key, key): value for key, value in found.items()}
    if kind in ("batchnorm", "layernorm", "groupnorm") and arrays:
        channels = next(iter(arrays.values())).shape
        # Keras omits them if they are not trained.
        arrays = {"weight": np.ones(channels), "bias": np.zeros(channels)} | arrays
    if "weight" not in arrays:
        return arrays
    weight = arrays["weight"]
    if word == "DepthwiseConv2D":
        h, w, c, multiplier = weight.shape
        arrays["weight"] = weight.transpose(2, 3, 0, 1).reshape(c * multiplier, 1, h, w)
    elif kind == "conv":
        arrays["weight"] = weight.transpose(3, 2, 0, 1)
    elif kind == "linear":
        arrays["weight"] = weight.T
    elif kind == "prelu" and weight.size == weight.shape[-1]:  # else it is refused by its shape
        arrays["weight"] = weight.reshape(-1)
    return arrays
