"""The channels of one branch of `split`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Count, Whole


class ChannelPart(Layer):
    """One of several equal parts of the channels.

    Args:
        in_shape: (h, w, c).
        parts: how many there are.
        index: which it is, from 0.

    Raises:
        ShapeError: no map, or the channels cannot be cut so.
    """

    kind: ClassVar[str] = "part"

    def __init__(self, in_shape: Shape, *, parts: Count, index: Whole) -> None:
        h, w, c = map_shape(in_shape)
        if c % parts:
            raise ShapeError(f"{parts} branches must divide the number of channels {c}")
        if index >= parts:
            raise ShapeError(f"index {index} must be below {parts}")
        self.in_shape = in_shape
        self.out_shape = (h, w, c // parts)
        self.channels = slice(index * (c // parts), (index + 1) * (c // parts))

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x.shape[0], *self.out_shape))
        np.copyto(y, x[..., self.channels])
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        dx.fill(0)
        np.copyto(dx[..., self.channels], dy)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        start = operators.constant(f"{name}.start", [self.channels.start])
        stop = operators.constant(f"{name}.stop", [self.channels.stop])
        axis = operators.constant(f"{name}.axis", [1])
        return operators.add("Slice", [*inputs, start, stop, axis], name)
