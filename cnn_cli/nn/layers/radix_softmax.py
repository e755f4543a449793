"""The softmax between branches, with which ResNeSt and selective kernels weight them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Count


class RadixSoftmax(Layer):
    """Softmax over the same channel of several equal parts (Zhang et al. 2020, r-softmax).

    Args:
        in_shape: (h, w, c) or (features,).
        radix: number of parts.

    Raises:
        ShapeError: the channels cannot be cut so.
    """

    kind: ClassVar[str] = "radix_softmax"
    listed: ClassVar[int] = 266
    saves_output: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, radix: Count) -> None:
        if in_shape[-1] % radix:
            raise ShapeError(f"radix {radix} must divide the number of channels {in_shape[-1]}")
        self.in_shape = self.out_shape = in_shape
        self.radix = radix

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        y = run.take(x.shape)
        parts, scores = self._parts(y), self._parts(x)
        np.subtract(scores, scores.max(axis=-2, keepdims=True), out=parts)
        np.exp(parts, out=parts)
        np.divide(parts, parts.sum(axis=-2, keepdims=True), out=parts)
        return y, y

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        """dx = y (dy - sum of y dy)."""
        if not node.need_dx:
            return None
        y, dx = self._parts(saved), self._parts(dy)
        product = np.multiply(y, dx, out=run.scratch("product", y.shape))
        np.subtract(dx, product.sum(axis=-2, keepdims=True), out=dx)
        np.multiply(dx, y, out=dx)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        *space, c = self.in_shape
        cut = operators.constant(f"{name}.parts", [0, self.radix, c // self.radix, *space])
        parts = operators.add("Reshape", [*inputs, cut], f"{name}.cut")
        weights = operators.add("Softmax", [parts], f"{name}.softmax", axis=1)
        whole = operators.constant(f"{name}.whole", [0, c, *space])
        return operators.add("Reshape", [weights, whole], name)

    def _parts(self, x: Array) -> Array:
        """View (…, c) as (…, radix, c / radix)."""
        return x.reshape(*x.shape[:-1], self.radix, -1)
