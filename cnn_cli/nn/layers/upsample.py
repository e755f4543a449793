"""Nearest-neighbor upsampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Pair


class Upsample(Layer):
    """Each pixel as a block of pixels (nearest neighbor), as PyTorch's Upsample by default.

    Args:
        in_shape: (h, w, c).
        scale: height and width of the block, `scale_factor` in PyTorch.

    Raises:
        ShapeError: the input is not a map.
    """

    kind: ClassVar[str] = "upsample"
    listed: ClassVar[int] = 235

    def __init__(self, in_shape: Shape, *, scale: Pair) -> None:
        h, w, c = map_shape(in_shape)
        self.in_shape = in_shape
        self.out_shape = (h * scale[0], w * scale[1], c)
        self.scale = scale

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x.shape[0], *self.out_shape))
        np.copyto(self._blocks(y), x[:, :, np.newaxis, :, np.newaxis])
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        np.sum(self._blocks(dy), axis=(2, 4), out=dx)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        scales = operators.constant(f"{name}.scales", np.array([1.0, 1.0, *self.scale]))
        return operators.add(
            "Resize",
            [*inputs, "", scales],  # the omitted region applies to another mode
            name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _blocks(self, y: Array) -> Array:
        """View (n, h·s, w·t, c) as (n, h, s, w, t, c)."""
        h, w, c = self.in_shape
        return y.reshape(-1, h, self.scale[0], w, self.scale[1], c)
