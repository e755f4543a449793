"""The product that ends `squeeze_excite`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError
from cnn_cli.nn.types import Array, Arrays, Shape


class Excite(Layer):
    """A map times one number a channel.

    Args:
        in_shapes: (h, w, c) and (c,).

    Raises:
        ShapeError: others.
    """

    kind: ClassVar[str] = "excite"
    saves_input: ClassVar[bool] = True
    takes_tuple: ClassVar[bool] = True

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        if [len(shape) for shape in in_shapes] != [3, 1] or in_shapes[0][2:] != in_shapes[1]:
            raise ShapeError("excitation needs a map and a number for each of its channels")
        self.in_shapes = tuple(in_shapes)
        self.in_shape = self.out_shape = in_shapes[0]
        self.muladds = prod(self.out_shape)

    def forward(self, x: Arrays, node: NodeContext, run: RunContext) -> tuple[Array, Arrays]:
        y = run.take(x[0].shape)
        np.multiply(x[0], x[1][:, np.newaxis, np.newaxis], out=y)
        return y, x

    def backward(
        self, dy: Array, saved: Arrays, node: NodeContext, run: RunContext
    ) -> Arrays | None:
        """Return the gradient of the map, written over dy, and that of the numbers."""
        if not node.need_dx:
            return None
        x, gate = saved
        dgate = run.take(gate.shape)
        np.einsum("nhwc,nhwc->nc", dy, x, out=dgate)
        np.multiply(dy, gate[:, np.newaxis, np.newaxis], out=dy)
        return dy, dgate

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        pixel = operators.constant("one pixel", [0, -1, 1, 1])
        gate = operators.add("Reshape", [inputs[1], pixel], f"{name}.pixel")
        return operators.add("Mul", [inputs[0], gate], name)
