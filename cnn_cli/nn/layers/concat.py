"""The concatenation that ends `branches`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError, shape_text
from cnn_cli.nn.types import Array, Arrays, Shape


class Concat(Layer):
    """Its inputs' channels one after another.

    Args:
        in_shapes: one shape for each input; all but the channels are the same.

    Raises:
        ShapeError: heights or widths of two inputs differ.
    """

    kind: ClassVar[str] = "concat"
    takes_tuple: ClassVar[bool] = True

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        first = in_shapes[0]
        for other in in_shapes[1:]:
            if other[:-1] != first[:-1]:
                raise ShapeError(
                    "branches need equal heights and widths to be concatenated,"
                    f" not {shape_text(first)} and {shape_text(other)}"
                )
        self.in_shapes = tuple(in_shapes)
        self.in_shape = first
        self.out_shape = (*first[:-1], sum(shape[-1] for shape in in_shapes))

    def forward(self, x: Arrays, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x[0].shape[0], *self.out_shape))
        np.concatenate(x, axis=-1, out=y)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Arrays | None:
        if not node.need_dx:
            return None
        dx = []
        start = 0
        for shape in self.in_shapes:
            end = start + shape[-1]
            part = run.take((dy.shape[0], *shape))
            np.copyto(part, dy[..., start:end])
            dx.append(part)
            start = end
        return tuple(dx)

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return operators.add("Concat", inputs, name, axis=1)
