"""Average pooling of the whole map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.pool import global_avg_pool, global_avg_pool_backward
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.types import Array, Shape


class GlobalAvgPool(Layer):
    """The mean of each channel over the whole map.

    Args:
        in_shape: (h, w, c).

    Raises:
        ShapeError: the input is not a map.
    """

    kind: ClassVar[str] = "global_avgpool"
    listed: ClassVar[int] = 230

    def __init__(self, in_shape: Shape) -> None:
        h, w, c = map_shape(in_shape)
        self.in_shape = in_shape
        self.out_shape = (c,)
        self.pixels = h * w

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x.shape[0], *self.out_shape))
        global_avg_pool(x.reshape(x.shape[0], self.pixels, *self.out_shape), y)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        global_avg_pool_backward(dy, dx.reshape(dy.shape[0], self.pixels, *self.out_shape))
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        mean = operators.add("GlobalAveragePool", inputs, f"{name}.mean")
        return operators.add("Flatten", [mean], name, axis=1)
