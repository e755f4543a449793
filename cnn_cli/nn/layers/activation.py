"""Activation layers; x has any shape, and the output the same."""

from __future__ import annotations

from typing import ClassVar

from cnn_cli.nn.context import Context
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.types import Array, Shape


class _Activation(Layer):
    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = self.out_shape = in_shape


class ReLU(_Activation):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"
    listed: ClassVar[int] = 40
    saves_output: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        ctx.kernels.relu(x, y)
        return y, y

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        ctx.kernels.relu_backward(dy, saved, ctx.scratch)
        return dy


class LeakyReLU(_Activation):
    """x above 0, negative_slope·x elsewhere (Maas et al. 2013).

    Args:
        in_shape: of one image.
        negative_slope: 0 or more.
    """

    kind: ClassVar[str] = "leaky_relu"
    listed: ClassVar[int] = 40
    saves_output: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, negative_slope: float = 0.01) -> None:
        super().__init__(in_shape)
        self.negative_slope = negative_slope

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        ctx.kernels.leaky_relu(x, self.negative_slope, y, ctx.scratch)
        return y, y

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        ctx.kernels.leaky_relu_backward(dy, saved, self.negative_slope, ctx.scratch)
        return dy


class SiLU(_Activation):
    """x·sigmoid(x) (Elfwing et al. 2017), also known as swish."""

    kind: ClassVar[str] = "silu"
    listed: ClassVar[int] = 40
    saves_input: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        ctx.kernels.silu(x, y, ctx.scratch)
        return y, x

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        ctx.kernels.silu_backward(dy, saved, ctx.scratch)
        return dy


class GELU(_Activation):
    """x·Phi(x) (Hendrycks and Gimpel 2016), Phi the normal distribution's function, by erf."""

    kind: ClassVar[str] = "gelu"
    listed: ClassVar[int] = 40
    saves_input: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        ctx.kernels.gelu(x, y, ctx.scratch)
        return y, x

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        ctx.kernels.gelu_backward(dy, saved, ctx.scratch)
        return dy


class ReLU6(_Activation):
    """min(max(x, 0), 6) (Howard et al. 2017)."""

    kind: ClassVar[str] = "relu6"
    listed: ClassVar[int] = 40
    saves_output: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        ctx.kernels.relu6(x, y)
        return y, y

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        ctx.kernels.relu6_backward(dy, saved, ctx.scratch)
        return dy


class HardSwish(_Activation):
    """x·relu6(x + 3)/6 (Howard et al. 2019)."""

    kind: ClassVar[str] = "hardswish"
    listed: ClassVar[int] = 40
    saves_input: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        ctx.kernels.hardswish(x, y, ctx.scratch)
        return y, x

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        ctx.kernels.hardswish_backward(dy, saved, ctx.scratch)
        return dy
