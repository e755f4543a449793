"""Max pooling."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import Context
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.layers.pooling import Pool
from cnn_cli.nn.types import Array


class MaxPool(Pool):
    """The largest value of each window.

    Attributes:
        activation: applied to the result, none or a ReLU, see `nn.fuse`.
    """

    # The first of equal values gets the gradient, as in PyTorch.
    kind: ClassVar[str] = "maxpool"
    listed: ClassVar[int] = 60

    activation: int = NONE

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array | None]:
        """Return y and, in the narrowest type, each maximum's position in its window."""
        shape = (x.shape[0], *self.out_shape)
        y = ctx.take(shape)
        index = None
        if ctx.need_saved:
            index = ctx.take(shape, np.min_scalar_type(len(self.windows.taps)))
        ctx.kernels.max_pool(x, self.windows, self.activation, y, index, ctx.scratch)
        return y, index

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        dx = ctx.take((dy.shape[0], *self.in_shape))
        ctx.kernels.max_pool_backward(dy, saved, self.windows, dx, ctx.scratch)
        return dx
