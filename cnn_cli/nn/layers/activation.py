"""Activation layers: one class over the table `kernels.activation.ACTIVATIONS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.activation import ACTIVATIONS, ActivationFunction
from cnn_cli.nn.layers.base import REGISTERED, Layer, Operators
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Above0, NotBelow0


class Activation(Layer):
    """An elementwise function; the output has the shape of the input.

    A subclass names its row of the table, which gives its kind and other attributes.

    Args:
        in_shape: shape of one image.

    Attributes:
        function: the row.
        numbers: the function's arguments.
    """

    can_write_input: ClassVar[bool] = True
    function: ClassVar[ActivationFunction]

    numbers: tuple[float, ...] = ()

    def __init_subclass__(cls) -> None:
        function = vars(cls).get("function")
        if function is not None:
            cls.kind = function.kind
            cls.listed = 100 + list(ACTIVATIONS).index(function.kind)
            cls.onnx = function.onnx
            cls.saves_input = function.reads == "x"
            cls.saves_output = function.reads == "y"
        super().__init_subclass__()

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = self.out_shape = in_shape

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        y = x if node.inplace else run.take(x.shape)
        run.kernels.activate(self.function, x, y, run.scratch, *self.numbers)
        return y, x if self.saves_input else y

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        run.kernels.activate_backward(self.function, dy, saved, run.scratch, *self.numbers)
        return dy


class LeakyReLU(Activation):
    """x above 0, negative_slope x below.

    Args:
        in_shape: of one image.
        negative_slope: slope below 0.
    """

    function: ClassVar[ActivationFunction] = ACTIVATIONS["leaky_relu"]

    def __init__(self, in_shape: Shape, *, negative_slope: NotBelow0 = 0.01) -> None:
        super().__init__(in_shape)
        self.negative_slope = negative_slope
        self.numbers = (float(negative_slope),)

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return operators.add("LeakyRelu", inputs, name, alpha=self.negative_slope)


class ELU(Activation):
    """x above 0, alpha (exp(x) - 1) below.

    Args:
        in_shape: of one image.
        alpha: the limit for large negative x is -alpha.
    """

    function: ClassVar[ActivationFunction] = ACTIVATIONS["elu"]

    def __init__(self, in_shape: Shape, *, alpha: Above0 = 1.0) -> None:
        super().__init__(in_shape)
        self.alpha = alpha
        self.numbers = (float(alpha),)

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return operators.add("Elu", inputs, name, alpha=self.alpha)


class SiLU(Activation):
    __doc__ = ACTIVATIONS["silu"].formula

    function: ClassVar[ActivationFunction] = ACTIVATIONS["silu"]

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        gate = operators.add("Sigmoid", inputs, f"{name}.gate")
        return operators.add("Mul", [*inputs, gate], name)


class ReLU6(Activation):
    __doc__ = ACTIVATIONS["relu6"].formula

    function: ClassVar[ActivationFunction] = ACTIVATIONS["relu6"]

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        bounds = [
            operators.constant("zero", np.array(0.0)),
            operators.constant("six", np.array(6.0)),
        ]
        return operators.add("Clip", [*inputs, *bounds], name)


class HardSigmoid(Activation):
    __doc__ = ACTIVATIONS["hardsigmoid"].formula

    function: ClassVar[ActivationFunction] = ACTIVATIONS["hardsigmoid"]

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return operators.add("HardSigmoid", inputs, name, alpha=1 / 6, beta=0.5)


# The others are fully described by their row.
for _function in ACTIVATIONS.values():
    if _function.kind not in REGISTERED:
        type(_function.name, (Activation,), {"function": _function, "__doc__": _function.formula})
