"""The sum that ends `residual`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError, shape_text
from cnn_cli.nn.types import Array, Arrays, Shape


class Add(Layer):
    """The sum of its inputs.

    Args:
        in_shapes: one shape for each input, all the same.

    Raises:
        ShapeError: two shapes differ.
    """

    kind: ClassVar[str] = "add"
    takes_tuple: ClassVar[bool] = True
    onnx: ClassVar[str] = "Add"
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        first = in_shapes[0]
        for other in in_shapes[1:]:
            if other != first:
                raise ShapeError(
                    f"a sum needs equal shapes, not {shape_text(first)} and {shape_text(other)}"
                )
        self.in_shapes = tuple(in_shapes)
        self.in_shape = self.out_shape = first

    def forward(self, x: Arrays, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = x[0] if node.inplace else run.take(x[0].shape)
        if len(x) == 1:
            np.copyto(y, x[0])
        else:
            np.add(x[0], x[1], out=y)
        for other in x[2:]:
            np.add(y, other, out=y)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Arrays | None:
        """Return dy and copies of it, since each receiver may overwrite its own."""
        if not node.need_dx:
            return None
        dx = [dy]
        for _ in self.in_shapes[1:]:
            copy = run.take(dy.shape)
            np.copyto(copy, dy)
            dx.append(copy)
        return tuple(dx)

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return operators.add(self.onnx if len(inputs) == 2 else "Sum", inputs, name)
