"""From a map to a vector."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.types import Array, Shape


class Flatten(Layer):
    """One vector per image, in channel, row, column order.

    Args:
        in_shape: (h, w, c), or (features,), which stays as it is. Always copied.
    """

    kind: ClassVar[str] = "flatten"
    listed: ClassVar[int] = 240

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = in_shape
        self.out_shape = (prod(in_shape),)

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x.shape[0], *self.out_shape))
        channels_first = np.moveaxis(x, -1, 1)
        np.copyto(y.reshape(channels_first.shape), channels_first)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        channels_first = np.moveaxis(dx, -1, 1)
        np.copyto(channels_first, dy.reshape(channels_first.shape))
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return operators.add("Flatten", inputs, name, axis=1)
