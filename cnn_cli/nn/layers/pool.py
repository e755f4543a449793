"""Pooling layers; meaning and shapes are PyTorch's, the layout is NHWC."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import Context
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.kernels.pool import global_avg_pool, global_avg_pool_backward
from cnn_cli.nn.kernels.windows import Windows, pooled_size
from cnn_cli.nn.layers.base import Layer, ShapeError
from cnn_cli.nn.types import Array, Pair, Shape


class _Pool(Layer):
    """What max and average pooling share: the geometry.

    Args:
        in_shape: (h, w, c).
        kernel_size, stride, padding, dilation: (height, width) in pixels; padding is at most
            half the kernel.
        ceil_mode: round the number of windows up, not down; a window must still start inside
            the input or the padding before it.

    Raises:
        ShapeError: no map, too much padding, or no window fits.
    """

    def __init__(
        self,
        in_shape: Shape,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> None:
        h, w, c = _map_shape(in_shape)
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True))
        if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
            raise ShapeError("padding must be at most half of kernel_size")
        ho, wo = (
            pooled_size(size, k, s, p, ceil_mode)
            for size, k, s, p in zip((h, w), reach, stride, padding, strict=True)
        )
        if ho < 1 or wo < 1:
            kernel = "x".join(map(str, reach))
            raise ShapeError(
                f"kernel_size {kernel}{_with_dilation(dilation)} must fit the padded input"
                f" of {h + 2 * padding[0]}x{w + 2 * padding[1]}"
            )
        self.in_shape = in_shape
        self.out_shape = (ho, wo, c)
        self.windows = Windows((h, w), (ho, wo), kernel_size, stride, padding, dilation)


class MaxPool(_Pool):
    """The largest value of each window; the first of equal ones gets the gradient.

    Arguments and errors as for PyTorch's `MaxPool2d`, see `_Pool`.

    Attributes:
        activation: applied to the result, none or a ReLU, see `nn.fuse`.
    """

    kind: ClassVar[str] = "maxpool"

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


class AvgPool(_Pool):
    """The mean of each window.

    Args:
        count_include_pad: zeros of the padding count as elements. What `ceil_mode` reaches
            beyond the padding never does.

    Other arguments and errors as for PyTorch's `AvgPool2d`, see `_Pool`.
    """

    kind: ClassVar[str] = "avgpool"

    def __init__(
        self,
        in_shape: Shape,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
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

    def forward(self, x: Array, ctx: Context) -> tuple[Array, None]:
        y = ctx.take((x.shape[0], *self.out_shape))
        ctx.kernels.avg_pool(x, self.windows, self.areas.astype(y.dtype), y)
        return y, None

    def backward(self, dy: Array, saved: None, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        dx = ctx.take((dy.shape[0], *self.in_shape))
        ctx.kernels.avg_pool_backward(dy, self.windows, self.areas.astype(dy.dtype), dx)
        return dx


class GlobalAvgPool(Layer):
    """The mean of each channel over the whole map: (n, h, w, c) to (n, c).

    Args:
        in_shape: (h, w, c).

    Raises:
        ShapeError: no map.
    """

    kind: ClassVar[str] = "global_avgpool"

    def __init__(self, in_shape: Shape) -> None:
        h, w, c = _map_shape(in_shape)
        self.in_shape = in_shape
        self.out_shape = (c,)
        self.pixels = h * w

    def forward(self, x: Array, ctx: Context) -> tuple[Array, None]:
        y = ctx.take((x.shape[0], *self.out_shape))
        global_avg_pool(x.reshape(x.shape[0], self.pixels, *self.out_shape), y)
        return y, None

    def backward(self, dy: Array, saved: None, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        dx = ctx.take((dy.shape[0], *self.in_shape))
        global_avg_pool_backward(dy, dx.reshape(dy.shape[0], self.pixels, *self.out_shape))
        return dx


def _with_dilation(dilation: Pair) -> str:
    return "" if dilation == (1, 1) else " with its dilation"


def _map_shape(in_shape: Shape) -> tuple[int, int, int]:
    if len(in_shape) != 3:
        raise ShapeError("pooling needs a map: height, width and channels")
    h, w, c = in_shape
    return h, w, c
