"""Local response normalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.types import Array, Arrays, Shape
from cnn_cli.schema.constraints import Above0, Count


class LocalResponseNorm(Layer):
    """Local response normalization over neighboring channels (Krizhevsky et al. 2012).

    y = x / (k + alpha m)^beta, where m is the sum of the squares of `size` neighboring channels,
    divided by `size`. If `size` is even, one more channel lies before than after, as in PyTorch.

    Args:
        in_shape: (h, w, c).
        size: number of channels in the window.
        alpha: factor of m.
        beta: exponent of the denominator.
        k: constant in the denominator.

    Raises:
        ShapeError: the input is not a map.
    """

    kind: ClassVar[str] = "lrn"
    listed: ClassVar[int] = 32
    saves_input: ClassVar[bool] = True

    def __init__(
        self,
        in_shape: Shape,
        *,
        size: Count,
        alpha: Above0 = 1e-4,
        beta: Above0 = 0.75,
        k: Above0 = 1.0,
    ) -> None:
        self.in_shape = self.out_shape = map_shape(in_shape)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.before, self.behind = size // 2, (size - 1) // 2

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Arrays]:
        """Return y, and x with k + alpha m."""
        base = run.take(x.shape)
        squares = np.multiply(x, x, out=run.scratch("squares", x.shape))
        _neighbor_sums(squares, self.before, self.behind, base)
        np.multiply(base, self.alpha / self.size, out=base)
        np.add(base, self.k, out=base)
        y = np.power(base, -self.beta, out=run.take(x.shape))
        np.multiply(x, y, out=y)
        return y, (x, base)

    def backward(
        self, dy: Array, saved: Arrays, node: NodeContext, run: RunContext
    ) -> Array | None:
        """Return the gradient of x, written over dy.

        A channel contributes to its own output and to the sums of its neighbors: dx = dy b^-beta -
        (2 alpha beta / size) x Σ dy x b^(-beta - 1), b = k + alpha m.
        """
        if not node.need_dx:
            return None
        x, base = saved
        shared = np.power(base, -self.beta, out=run.scratch("squares", x.shape))
        np.multiply(dy, shared, out=dy)
        np.multiply(dy, x, out=shared)
        np.divide(shared, base, out=shared)
        total = run.scratch("sums", x.shape)
        _neighbor_sums(shared, self.behind, self.before, total)
        np.multiply(total, x, out=total)
        np.multiply(total, 2 * self.alpha * self.beta / self.size, out=total)
        np.subtract(dy, total, out=dy)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        """Runtimes support odd sizes only; even ones are exported as a convolution of the
        squares.
        """
        if self.size % 2:
            return operators.add(
                "LRN",
                inputs,
                name,
                size=self.size,
                alpha=self.alpha,
                beta=self.beta,
                bias=self.k,
            )
        channels = self.in_shape[-1]
        band = np.zeros((channels, channels))
        _neighbor_sums(np.eye(channels), self.before, self.behind, band)
        weight = band.T[..., np.newaxis, np.newaxis] * (self.alpha / self.size)
        factors = operators.constant(f"{name}.weight", weight)
        shift = operators.constant(f"{name}.k", np.full(channels, self.k))
        beta = operators.constant(f"{name}.beta", np.array(self.beta))
        squares = operators.add("Mul", [*inputs, *inputs], f"{name}.squares")
        base = operators.add("Conv", [squares, factors, shift], f"{name}.base")
        power = operators.add("Pow", [base, beta], f"{name}.power")
        return operators.add("Div", [*inputs, power], name)


def _neighbor_sums(x: Array, before: int, behind: int, out: Array) -> None:
    """Write to out the sum of each channel with `before` channels before and `behind` after it."""
    c = x.shape[-1]
    np.copyto(out, x)
    for distance in range(1, min(before, c - 1) + 1):
        np.add(out[..., distance:], x[..., :-distance], out=out[..., distance:])
    for distance in range(1, min(behind, c - 1) + 1):
        np.add(out[..., :-distance], x[..., distance:], out=out[..., :-distance])
