"""The product in `branches` with `combine: product`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError, shape_text
from cnn_cli.nn.types import Array, Arrays, Shape


class Product(Layer):
    """The product of its inputs, of which some may be gates.

    Args:
        in_shapes: one shape for each input; a gate has a 1 where one number of it stands for all
            rows, columns or channels of the others, or is a vector of a number a channel.

    Raises:
        ShapeError: two shapes differ otherwise.
    """

    kind: ClassVar[str] = "product"
    saves_input: ClassVar[bool] = True
    takes_tuple: ClassVar[bool] = True

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        ndim = max(map(len, in_shapes))
        # A vector is a map of one pixel if the others are maps.
        self.shapes = [(1,) * (ndim - len(shape)) + tuple(shape) for shape in in_shapes]
        whole = tuple(map(max, zip(*self.shapes, strict=True)))
        for shape, written in zip(self.shapes, in_shapes, strict=True):
            if any(size not in (1, most) for size, most in zip(shape, whole, strict=True)):
                raise ShapeError(
                    "a product needs equal shapes, or a 1 where they differ,"
                    f" not {shape_text(written)} for {shape_text(whole)}"
                )
        self.in_shapes = tuple(in_shapes)
        self.in_shape = in_shapes[0]
        self.out_shape = whole
        self.muladds = prod(whole) * (len(in_shapes) - 1)

    def forward(self, x: Arrays, node: NodeContext, run: RunContext) -> tuple[Array, Arrays]:
        y = run.take((x[0].shape[0], *self.out_shape))
        first, *others = self._alike(x)
        if not others:
            np.copyto(y, first)
        for other in others:
            np.multiply(first, other, out=y)
            first = y
        return y, x

    def backward(
        self, dy: Array, saved: Arrays, node: NodeContext, run: RunContext
    ) -> Arrays | None:
        """Return each input's gradient: dy times the other inputs, summed over broadcast axes.

        The first input of full shape gets its gradient in dy.
        """
        if not node.need_dx:
            return None
        whole = [i for i, shape in enumerate(self.shapes) if shape == self.out_shape]
        dx: dict[int, Array] = {}
        parts = self._alike(saved)
        for i in sorted(range(len(parts)), key=lambda i: i in whole[:1]):
            others = [part for j, part in enumerate(parts) if j != i]
            rest = reduce(np.multiply, others) if others else np.ones(1, dy.dtype)
            dx[i] = dy if i in whole[:1] else run.take(saved[i].shape)
            target = dx[i].reshape(parts[i].shape)
            if i in whole:
                np.multiply(dy, rest, out=target)
            else:
                _sum_to(target, dy, np.broadcast_to(rest, dy.shape))
        return tuple(dx[i] for i in range(len(parts)))

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        names = []
        for i, (each, shape) in enumerate(zip(inputs, self.in_shapes, strict=True)):
            if len(shape) < len(self.out_shape):
                pixel = operators.constant("one pixel", [0, -1, 1, 1])
                names.append(operators.add("Reshape", [each, pixel], f"{name}.pixel{i}"))
            else:
                names.append(each)
        so_far = names[0]
        for i, each in enumerate(names[1:], 2):
            end = name if i == len(names) else f"{name}.{i}"
            so_far = operators.add("Mul", [so_far, each], end)
        return so_far

    def _alike(self, x: Arrays) -> Arrays:
        """Return views with equal numbers of axes."""
        return tuple(
            part.reshape(len(part), *shape) for part, shape in zip(x, self.shapes, strict=True)
        )


def _sum_to(target: Array, dy: Array, rest: Array) -> None:
    """Write the sum of dy·rest over the axes in which target has size 1."""
    axes = "nhwc" if dy.ndim == 4 else "nc"
    kept = "".join(
        axis
        for axis, size, most in zip(axes, target.shape, dy.shape, strict=True)
        if size == most or axis == "n"
    )
    sizes = tuple(dy.shape[axes.index(axis)] for axis in kept)
    np.einsum(f"{axes},{axes}->{kept}", dy, rest, out=target.reshape(sizes))
