"""Layers that only change the shape, the scale, or not even that."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import Context
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.types import Array, Shape


class Flatten(Layer):
    """One vector an image, (n, h, w, c) to (n, c·h·w): channel, row, column, as PyTorch.

    Args:
        in_shape: (h, w, c), or (features,), which stays as it is. Always copied.
    """

    kind: ClassVar[str] = "flatten"

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = in_shape
        self.out_shape = (prod(in_shape),)

    def forward(self, x: Array, ctx: Context) -> tuple[Array, None]:
        y = ctx.take((x.shape[0], *self.out_shape))
        channels_first = np.moveaxis(x, -1, 1)
        np.copyto(y.reshape(channels_first.shape), channels_first)
        return y, None

    def backward(self, dy: Array, saved: None, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        dx = ctx.take((dy.shape[0], *self.in_shape))
        channels_first = np.moveaxis(dx, -1, 1)
        np.copyto(channels_first, dy.reshape(channels_first.shape))
        return dx


class Identity(Layer):
    """Its input: what stays in the place of a layer whose work another one does.

    Args:
        in_shape: of one image.
    """

    kind: ClassVar[str] = "identity"
    is_view: ClassVar[bool] = True

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = self.out_shape = in_shape

    def forward(self, x: Array, ctx: Context) -> tuple[Array, None]:
        return x, None

    def backward(self, dy: Array, saved: None, ctx: Context) -> Array | None:
        return dy if ctx.need_dx else None


class Scale(Layer):
    """Its input times a number that is not trained.

    Args:
        in_shape: of one image.
        factor: the number.
    """

    kind: ClassVar[str] = "scale"
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, factor: float) -> None:
        self.in_shape = self.out_shape = in_shape
        self.factor = factor

    def forward(self, x: Array, ctx: Context) -> tuple[Array, None]:
        y = x if ctx.inplace else ctx.take(x.shape)
        np.multiply(x, self.factor, out=y)
        return y, None

    def backward(self, dy: Array, saved: None, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        np.multiply(dy, self.factor, out=dy)
        return dy
