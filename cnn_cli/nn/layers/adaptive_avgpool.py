"""Average pooling to a given size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Pair


class AdaptiveAvgPool(Layer):
    """Average pooling to an output of a fixed size, whatever the input's size.

    Along a side of length h, output i of n averages rows floor(i h / n) up to, not including,
    ceil((i + 1) h / n), as in PyTorch: windows overlap if n does not divide h, and repeat if n is
    larger.

    Args:
        in_shape: (h, w, c).
        output_size: height and width of the output.

    Raises:
        ShapeError: the input is not a map.
    """

    kind: ClassVar[str] = "adaptive_avgpool"
    listed: ClassVar[int] = 225

    def __init__(self, in_shape: Shape, *, output_size: Pair) -> None:
        h, w, c = map_shape(in_shape)
        self.in_shape = in_shape
        self.output_size = output_size
        self.out_shape = (*output_size, c)
        # (oh, h) and (ow, w): matrices that average each part's rows or columns.
        self.means = tuple(map(part_means, (h, w), output_size))

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        n, h, w, c = x.shape
        rows, columns = (mean.astype(x.dtype) for mean in self.means)
        oh = self.out_shape[0]
        narrow = run.scratch("narrow", (n, oh, w * c))
        np.matmul(rows, x.reshape(n, h, w * c), out=narrow)
        y = run.take((n, *self.out_shape))
        np.matmul(columns, narrow.reshape(n, oh, w, c), out=y)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        n, oh, _, c = dy.shape
        h, w = self.in_shape[:2]
        rows, columns = (mean.T.astype(dy.dtype) for mean in self.means)
        wide = run.scratch("narrow", (n, oh, w, c))
        np.matmul(columns, dy, out=wide)
        dx = run.take((n, *self.in_shape))
        np.matmul(rows, wide.reshape(n, oh, w * c), out=dx.reshape(n, h, w * c))
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        """Export as two products, because ONNX has no such pooling."""
        rows = operators.constant(f"{name}.rows", self.means[0])
        columns = operators.constant(f"{name}.columns", np.ascontiguousarray(self.means[1].T))
        narrow = operators.add("MatMul", [rows, *inputs], f"{name}.narrow")
        return operators.add("MatMul", [narrow, columns], name)


def part_means(length: int, parts: int) -> Array:
    """Return (parts, length): the weight of each row in each part's mean."""
    means = np.zeros((parts, length))
    for i in range(parts):
        start, stop = i * length // parts, ceil_div((i + 1) * length, parts)
        means[i, start:stop] = 1 / (stop - start)
    return means
