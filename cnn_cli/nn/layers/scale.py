"""Multiplication by a fixed number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Number


class Scale(Layer):
    """Multiply by a constant.

    Args:
        in_shape: of one image.
        factor: the number.
    """

    kind: ClassVar[str] = "scale"
    listed: ClassVar[int] = 260
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, factor: Number) -> None:
        self.in_shape = self.out_shape = in_shape
        self.factor = factor

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = x if node.inplace else run.take(x.shape)
        np.multiply(x, self.factor, out=y)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        np.multiply(dy, self.factor, out=dy)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        factor = operators.constant(f"{name}.factor", np.array(self.factor))
        return operators.add("Mul", [*inputs, factor], name)
