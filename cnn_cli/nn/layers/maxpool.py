"""Max pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.layers.base import Operators
from cnn_cli.nn.layers.padding import pad_onnx
from cnn_cli.nn.layers.pooling import Pool
from cnn_cli.nn.types import Array


class MaxPool(Pool):
    """The largest value of each window.

    Attributes:
        activation: applied to the result, none or a ReLU, see `nn.fuse`.
    """

    # The first of equal values gets the gradient, as in PyTorch.
    kind: ClassVar[str] = "maxpool"
    listed: ClassVar[int] = 210

    activation: int = NONE

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array | None]:
        """Return y and, in the narrowest dtype, each maximum's position in its window."""
        shape = (x.shape[0], *self.out_shape)
        y = run.take(shape)
        index = None
        if node.has_backward and run.need_saved:
            index = run.take(shape, np.min_scalar_type(len(self.windows.taps)))
        run.kernels.max_pool(x, self.windows, self.activation, y, index, run.scratch)
        return y, index

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        run.kernels.max_pool_backward(dy, saved, self.windows, dx, run.scratch)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        windows, pads = self.windows, self.onnx_pads()
        # onnxruntime takes no padding as wide as the kernel, as a last dilated window may need.
        if any(pad >= size for pad, size in zip(pads, windows.kernel_size * 2, strict=True)):
            top, left, bottom, right = pads
            around = top, bottom, left, right
            inputs = [pad_onnx(inputs, f"{name}.padded", around, "zeros", operators, -np.inf)]
            pads = (0, 0, 0, 0)
        return operators.add(
            "MaxPool",
            inputs,
            name,
            kernel_shape=windows.kernel_size,
            strides=windows.stride,
            pads=pads,
            dilations=windows.dilation,
        )
