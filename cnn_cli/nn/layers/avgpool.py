"""Average pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Operators
from cnn_cli.nn.layers.padding import Around
from cnn_cli.nn.layers.pooling import Pool
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Flag, Pair


class AvgPool(Pool):
    """The mean of each window.

    Args:
        count_include_pad: count the zeros of the padding in the mean.
    """

    kind: ClassVar[str] = "avgpool"
    listed: ClassVar[int] = 220

    def __init__(
        self,
        in_shape: Shape,
        *,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Around = (0, 0),
        ceil_mode: Flag = False,
        count_include_pad: Flag = True,
    ) -> None:
        super().__init__(
            in_shape,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
        )
        self.count_include_pad = count_include_pad
        areas = self.windows.areas(count_include_pad)
        alike = bool((areas == areas[0, 0]).all())
        self.areas: Array = areas[:1, :1, None] if alike else areas[..., None]

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x.shape[0], *self.out_shape))
        run.kernels.avg_pool(x, self.windows, self.areas.astype(y.dtype), y)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        run.kernels.avg_pool_backward(dy, self.windows, self.areas.astype(dy.dtype), dx)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        """Export as an average; if the divisors differ from ONNX's, corrected by their ratio."""
        kh, kw = self.windows.kernel_size
        plain = self.areas.size == 1 and float(self.areas.item()) == kh * kw
        mean = operators.add(
            "AveragePool",
            inputs,
            name if plain else f"{name}.sum",
            kernel_shape=self.windows.kernel_size,
            strides=self.windows.stride,
            pads=self.onnx_pads(),
            count_include_pad=1,
        )
        if plain:
            return mean
        ratio = operators.constant(f"{name}.ratio", (kh * kw / self.areas).transpose(2, 0, 1))
        return operators.add("Mul", [mean, ratio], name)
