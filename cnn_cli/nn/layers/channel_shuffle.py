"""Channel shuffle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Count


class ChannelShuffle(Layer):
    """The first channel of each group, then the second of each, and so on (Zhang et al. 2017).

    Args:
        in_shape: (h, w, c).
        groups: number of equal groups of channels.

    Raises:
        ShapeError: the input is not a map, or its channels cannot be divided so.
    """

    kind: ClassVar[str] = "channel_shuffle"
    listed: ClassVar[int] = 264

    def __init__(self, in_shape: Shape, *, groups: Count) -> None:
        c = map_shape(in_shape)[-1]
        if c % groups:
            raise ShapeError(f"groups {groups} must divide the number of channels {c}")
        self.in_shape = self.out_shape = in_shape
        self.groups = groups

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        return _dealt(x, self.groups, run), None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        return _dealt(dy, dy.shape[-1] // self.groups, run)

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        h, w, c = self.in_shape
        parts = operators.constant(f"{name}.parts", [0, self.groups, c // self.groups, h, w])
        cut = operators.add("Reshape", [*inputs, parts], f"{name}.cut")
        dealt = operators.add("Transpose", [cut], f"{name}.dealt", perm=(0, 2, 1, 3, 4))
        whole = operators.constant(f"{name}.whole", [0, c, h, w])
        return operators.add("Reshape", [dealt, whole], name)


def _dealt(x: Array, groups: int, run: RunContext) -> Array:
    """Transpose (…, c) as (…, groups, c / groups) in its last two axes."""
    y = run.take(x.shape)
    cut = x.reshape(*x.shape[:-1], groups, -1)
    np.copyto(y.reshape(*x.shape[:-1], -1, groups), cut.swapaxes(-1, -2))
    return y
