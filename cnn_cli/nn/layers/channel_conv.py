"""The convolution over the channels in `eca`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ParamSpec, ShapeError
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Count


class ChannelConv(Layer):
    """A 1-D convolution along a vector, with one channel, zero padding and no bias.

    Args:
        in_shape: (c,).
        kernel_size: odd, so that the length stays the same.

    Raises:
        ShapeError: the input is not a vector, or the kernel size is even.
    """

    kind: ClassVar[str] = "channel_conv"
    saves_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, kernel_size: Count) -> None:
        if len(in_shape) != 1:
            raise ShapeError("a convolution over channels needs a vector of them")
        if kernel_size % 2 == 0:
            raise ShapeError(f"kernel_size must be odd, not {kernel_size}")
        self.in_shape = self.out_shape = in_shape
        self.kernel_size = kernel_size
        self.params = (ParamSpec("weight", (1, 1, kernel_size), "weight", kernel_size),)
        self.muladds = in_shape[0] * kernel_size

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        y = run.take(x.shape)
        np.matmul(self._windows(x, run), node.params["weight"][0, 0], out=y)
        return y, x

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        """The gradient of x is the convolution of dy with the flipped kernel."""
        windows = self._windows(saved, run).reshape(-1, self.kernel_size)
        node.add_product("weight", dy.reshape(1, -1), windows, run)
        if not node.need_dx:
            return None
        dx = run.take(dy.shape)
        np.matmul(self._windows(dy, run), node.params["weight"][0, 0, ::-1], out=dx)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        row = operators.constant("one row", [0, 1, -1])
        rows = operators.add("Reshape", [*inputs, row], f"{name}.row")
        weight = operators.constant(f"{name}.weight", arrays["weight"])
        around = self.kernel_size // 2
        found = operators.add(
            "Conv",
            [rows, weight],
            f"{name}.conv",
            kernel_shape=(self.kernel_size,),
            pads=(around, around),
        )
        return operators.add("Flatten", [found], name, axis=1)

    def _windows(self, x: Array, run: RunContext) -> Array:
        """View the padded (n, c) as (n, c, k): the inputs of each output."""
        n, c = x.shape
        around = self.kernel_size // 2
        padded = run.scratch("padded", (n, c + 2 * around))
        padded[:, :around] = 0
        padded[:, around + c :] = 0
        padded[:, around : around + c] = x
        windows: Array = sliding_window_view(padded, self.kernel_size, axis=1)
        return windows
