"""A range of the channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Count, Whole


class ChannelSlice(Layer):
    """A range of the channels, as `x[:, start:stop]` in PyTorch.

    Args:
        in_shape: (h, w, c) or (features,).
        start: first channel, from 0.
        stop: the channel after the last one; by default none, all from `start` on.

    Raises:
        ShapeError: there are no such channels.
    """

    kind: ClassVar[str] = "slice"
    listed: ClassVar[int] = 263

    def __init__(self, in_shape: Shape, *, start: Whole = 0, stop: Count | None = None) -> None:
        c = in_shape[-1]
        stop = c if stop is None else stop
        if stop > c:
            raise ShapeError(f"stop {stop} must be at most the number of channels {c}")
        if start >= stop:
            raise ShapeError(f"start {start} must be below {stop}")
        self.in_shape = in_shape
        self.out_shape = (*in_shape[:-1], stop - start)
        self.start, self.stop = start, stop

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x.shape[0], *self.out_shape))
        np.copyto(y, x[..., self.start : self.stop])
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        dx[..., : self.start] = 0
        dx[..., self.stop :] = 0
        np.copyto(dx[..., self.start : self.stop], dy)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        start = operators.constant(f"{name}.start", [self.start])
        stop = operators.constant(f"{name}.stop", [self.stop])
        axis = operators.constant(f"{name}.axis", [1])
        return operators.add("Slice", [*inputs, start, stop, axis], name)
