"""Activation layers of gates and of networks that others trained; any shape, as those before."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import Context
from cnn_cli.nn.kernels import smooth
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.types import Array, Shape

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


class _FromOutput(Layer):
    """An activation whose derivative is read off its output."""

    saves_output: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = self.out_shape = in_shape

    def apply(self, x: Array, y: Array, ctx: Context) -> None:
        """Write the activation of x to y, which may be x itself."""
        raise NotImplementedError

    def apply_backward(self, dy: Array, y: Array, ctx: Context) -> None:
        """Multiply dy by the derivative where the output is y."""
        raise NotImplementedError

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        self.apply(x, y, ctx)
        return y, y

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        self.apply_backward(dy, saved, ctx)
        return dy


class Sigmoid(_FromOutput):
    """1/(1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"
    listed: ClassVar[int] = 40

    def apply(self, x: Array, y: Array, ctx: Context) -> None:
        smooth.sigmoid(x, y)

    def apply_backward(self, dy: Array, y: Array, ctx: Context) -> None:
        smooth.sigmoid_backward(dy, y, ctx.scratch)


class HardSigmoid(_FromOutput):
    """min(max(x + 3, 0), 6)/6 (Howard et al. 2019)."""

    kind: ClassVar[str] = "hardsigmoid"
    listed: ClassVar[int] = 40

    def apply(self, x: Array, y: Array, ctx: Context) -> None:
        smooth.hardsigmoid(x, y)

    def apply_backward(self, dy: Array, y: Array, ctx: Context) -> None:
        smooth.hardsigmoid_backward(dy, y, ctx.scratch)


class Tanh(_FromOutput):
    """tanh(x)."""

    kind: ClassVar[str] = "tanh"
    listed: ClassVar[int] = 40

    def apply(self, x: Array, y: Array, ctx: Context) -> None:
        np.tanh(x, out=y)

    def apply_backward(self, dy: Array, y: Array, ctx: Context) -> None:
        smooth.tanh_backward(dy, y, ctx.scratch)


class ELU(_FromOutput):
    """x above 0, alpha·(exp(x) - 1) elsewhere (Clevert et al. 2015).

    Args:
        in_shape: of one image.
        alpha: above 0.
    """

    kind: ClassVar[str] = "elu"
    listed: ClassVar[int] = 40

    def __init__(self, in_shape: Shape, *, alpha: float = 1.0) -> None:
        super().__init__(in_shape)
        self.alpha = alpha
        self.scale = 1.0

    def apply(self, x: Array, y: Array, ctx: Context) -> None:
        smooth.elu(x, self.alpha, self.scale, y, ctx.scratch)

    def apply_backward(self, dy: Array, y: Array, ctx: Context) -> None:
        smooth.elu_backward(dy, y, self.alpha, self.scale, ctx.scratch)


class SELU(ELU):
    """ELU with the scale that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    kind: ClassVar[str] = "selu"
    listed: ClassVar[int] = 40

    def __init__(self, in_shape: Shape) -> None:
        super().__init__(in_shape, alpha=SELU_ALPHA)
        self.scale = SELU_SCALE


class Softsign(_FromOutput):
    """x/(1 + |x|)."""

    kind: ClassVar[str] = "softsign"
    listed: ClassVar[int] = 40

    def apply(self, x: Array, y: Array, ctx: Context) -> None:
        smooth.softsign(x, y, ctx.scratch)

    def apply_backward(self, dy: Array, y: Array, ctx: Context) -> None:
        smooth.softsign_backward(dy, y, ctx.scratch)


class Softplus(Layer):
    """log(1 + exp(x))."""

    kind: ClassVar[str] = "softplus"
    listed: ClassVar[int] = 40
    saves_input: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = self.out_shape = in_shape

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x if ctx.inplace else ctx.take(x.shape)
        smooth.softplus(x, y, ctx.scratch)
        return y, x

    def backward(self, dy: Array, saved: Array, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        smooth.softplus_backward(dy, saved, ctx.scratch)
        return dy
