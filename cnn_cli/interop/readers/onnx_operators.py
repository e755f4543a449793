"""Convert ONNX operators to ops; everything computable without an image becomes a constant."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import Module
from cnn_cli.interop.readers.arguments import check_arguments
from cnn_cli.interop.readers.onnx_arguments import ARGUMENTS
from cnn_cli.interop.readers.onnx_arithmetic import Arithmetic
from cnn_cli.interop.readers.onnx_channels import Channels
from cnn_cli.interop.readers.onnx_constants import Constants
from cnn_cli.interop.readers.onnx_maps import Maps
from cnn_cli.interop.readers.onnx_operator import OnnxGraph
from cnn_cli.interop.readers.tensor_views import CHANNELS, OUTER, LayoutError
from cnn_cli.nn.types import Array


class OnnxOperators(OnnxGraph):
    """The ops of a network, read operator by operator."""

    def add(self, node: Any, attributes: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        """Read an operator.

        Args:
            node: the operator.
            attributes: its scalar and list attributes.
            tensors: its array attributes.

        Raises:
            DataError: it is unknown, or does something that no layer does.
        """
        word = node.op_type
        name = node.name or f"{word}_{node.output[0]}"
        if node.domain not in ("", "ai.onnx") or word not in ARGUMENTS:
            raise DataError(self.path, f"operator {name} is of an unknown kind", word)
        given = {**attributes, **tensors}
        check_arguments(self.path, name, word, given, ARGUMENTS[word])
        read = _Operator(self, name, word, given, list(node.input), list(node.output))
        try:
            read.add()
        except LayoutError as error:
            rule = f"operator {name} ({word}) must be a layer of an image"
            raise DataError(self.path, rule, error) from error


class _Operator(Arithmetic, Channels, Constants, Maps):
    """An operator of any kind."""

    def add(self) -> None:
        if any(self.outputs[1:]) and self.word != "Split":
            # Dropout's mask and a maximum's indices are not read in a trained network.
            self.outputs = self.outputs[:1]
        if self.word == "Constant" or not any(each in self.network.views for each in self.inputs):
            self._fold()
        elif self.word == "Shape":
            shape = np.array(self._view(0).shape, np.int64)
            self._keep(shape[self.given.get("start", 0) : self.given.get("end")])
        else:
            self._read()

    def _read(self) -> None:  # noqa: PLR0912, PLR0915 - a case an operator
        given = self.given
        match self.word:
            case "Conv":
                self._convolution()
            case "BatchNormalization" if given.get("training_mode", 0):
                raise self._refused("must not be in training", "training_mode")
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
                if self.network.opset < 7 and numbers.ndim == 1:  # aligned to the second axis
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
            case "ReduceMean" | "ReduceSum":
                self._reduce()
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
                self._softmax()
            case "LRN":
                self._lrn()
            case "Pow":
                exponent = self._needed(1)
                if exponent.size != 1:
                    raise self._refused("must have one exponent", exponent.size)
                if exponent == 2:
                    self._square()
                else:
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

    def _reduce(self) -> None:
        """A mean or a sum, over the map or over the channels' parts."""
        axes, keep = self._axes(1), bool(self.given.get("keepdims", 1))
        view = self._view(0)
        if axes is None and self.given.get("noop_with_empty_axes", 0):
            self._give(view)
            return
        over = [axis % len(view.axes) for axis in axes or range(len(view.axes))]
        is_sum = self.word == "ReduceSum"
        if is_sum and len(over) == 1 and view.labels(over[0]) == [OUTER]:
            self._sum_of_parts(view, over[0], keep=keep)
            return
        self._mean(over, keep=keep)
        if is_sum:
            means = self.network.views[self.outputs[0]]
            self._scaled(means, np.full(1, float(prod(view.shape[i] for i in over))), None)
