"""Layers with several inputs: the ends of `residual`, `branches` and `squeeze_excite`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import Context
from cnn_cli.nn.layers.base import Layer, ShapeError
from cnn_cli.nn.types import Array, Shape

Arrays = tuple[Array, ...]


class Add(Layer):
    """The sum of its inputs.

    Args:
        in_shapes: one shape for each input, all the same.

    Raises:
        ShapeError: two shapes differ.
    """

    kind: ClassVar[str] = "add"
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        first = in_shapes[0]
        for other in in_shapes[1:]:
            if other != first:
                raise ShapeError(f"a sum needs equal shapes, not {_text(first)} and {_text(other)}")
        self.in_shapes = tuple(in_shapes)
        self.in_shape = self.out_shape = first

    def forward(self, x: Arrays, ctx: Context) -> tuple[Array, None]:
        y = x[0] if ctx.inplace else ctx.take(x[0].shape)
        if len(x) == 1:
            np.copyto(y, x[0])
        else:
            np.add(x[0], x[1], out=y)
        for other in x[2:]:
            np.add(y, other, out=y)
        return y, None

    def backward(self, dy: Array, saved: None, ctx: Context) -> Arrays | None:
        """Return dy and copies of it: whoever gets one may overwrite it."""
        if not ctx.need_dx:
            return None
        dx = [dy]
        for _ in self.in_shapes[1:]:
            copy = ctx.take(dy.shape)
            np.copyto(copy, dy)
            dx.append(copy)
        return tuple(dx)


class Concat(Layer):
    """Its inputs' channels one after another.

    Args:
        in_shapes: one shape for each input; all but the channels are the same.

    Raises:
        ShapeError: heights or widths of two inputs differ.
    """

    kind: ClassVar[str] = "concat"

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        first = in_shapes[0]
        for other in in_shapes[1:]:
            if other[:-1] != first[:-1]:
                raise ShapeError(
                    "branches need equal heights and widths to be concatenated,"
                    f" not {_text(first)} and {_text(other)}"
                )
        self.in_shapes = tuple(in_shapes)
        self.in_shape = first
        self.out_shape = (*first[:-1], sum(shape[-1] for shape in in_shapes))

    def forward(self, x: Arrays, ctx: Context) -> tuple[Array, None]:
        y = ctx.take((x[0].shape[0], *self.out_shape))
        np.concatenate(x, axis=-1, out=y)
        return y, None

    def backward(self, dy: Array, saved: None, ctx: Context) -> Arrays | None:
        if not ctx.need_dx:
            return None
        dx = []
        start = 0
        for shape in self.in_shapes:
            end = start + shape[-1]
            part = ctx.take((dy.shape[0], *shape))
            np.copyto(part, dy[..., start:end])
            dx.append(part)
            start = end
        return tuple(dx)


class Excite(Layer):
    """A map times one number a channel.

    Args:
        in_shapes: (h, w, c) and (c,).
    """

    kind: ClassVar[str] = "excite"
    saves_input: ClassVar[bool] = True
    takes_tuple: ClassVar[bool] = True

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        self.in_shapes = tuple(in_shapes)
        self.in_shape = self.out_shape = in_shapes[0]
        self.muladds = prod(self.out_shape)

    def forward(self, x: Arrays, ctx: Context) -> tuple[Array, Arrays]:
        y = ctx.take(x[0].shape)
        np.multiply(x[0], x[1][:, np.newaxis, np.newaxis], out=y)
        return y, x

    def backward(self, dy: Array, saved: Arrays, ctx: Context) -> Arrays | None:
        """Return the gradient of the map, written over dy, and that of the numbers."""
        if not ctx.need_dx:
            return None
        x, gate = saved
        dgate = ctx.take(gate.shape)
        np.einsum("nhwc,nhwc->nc", dy, x, out=dgate)
        np.multiply(dy, gate[:, np.newaxis, np.newaxis], out=dy)
        return dy, dgate


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
