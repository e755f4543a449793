"""Fully connected layer."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ParamSpec
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Features, Flag


class Linear(Layer):
    """A matrix product; `classes` stands for the number of classes.

    Args:
        in_shape: (features,), or (h, w, c), which is read in the order channel, row, column.
        out_features: length of the output, or `classes`.
        bias: add a trained bias to each feature.
    """

    kind: ClassVar[str] = "linear"
    listed: ClassVar[int] = 270
    saves_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, out_features: Features, bias: Flag = True) -> None:
        features = prod(in_shape)
        self.in_shape = in_shape
        self.out_shape = (out_features,)
        self.params = (ParamSpec("weight", (out_features, features), "weight", features),)
        if bias:
            self.params += (ParamSpec("bias", (out_features,), "bias", features),)
        self.muladds = out_features * features

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        y = run.take((x.shape[0], *self.out_shape))
        # For few images and many weights, the product with the weight on the left is twice as fast.
        product = run.scratch("product", y.T.shape)
        np.matmul(node.params["weight"], self._flat(x, node, run).T, out=product)
        if "bias" in node.params:
            np.add(product.T, node.params["bias"], out=y)
        else:
            np.copyto(y, product.T)
        return y, x

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        node.add_product("weight", dy.T, self._flat(saved, node, run), run)
        if "bias" in node.grads:
            node.add_row_sum("bias", dy, run)
        if not node.need_dx:
            return None
        dx = run.take(saved.shape)
        if self._in_order(saved):
            np.matmul(dy, node.params["weight"], out=dx.reshape(dx.shape[0], -1))
            return dx
        channels_first = np.moveaxis(dx, -1, 1)
        flat = run.scratch("flat", channels_first.shape)
        np.matmul(dy, node.params["weight"], out=flat.reshape(dx.shape[0], -1))
        np.copyto(channels_first, flat)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        if len(self.in_shape) > 1:
            inputs = [operators.add("Flatten", inputs, f"{name}.flat", axis=1)]
        constants = [operators.constant(f"{name}.{key}", arrays[key]) for key in arrays]
        return operators.add("Gemm", [*inputs, *constants], name, transB=1)

    def _flat(self, x: Array, node: NodeContext, run: RunContext) -> Array:
        """Flatten (n, h, w, c) to (n, c·h·w)."""
        if self._in_order(x):
            return x.reshape(x.shape[0], -1)
        channels_first = np.moveaxis(x, -1, 1)
        flat = run.scratch("flat", channels_first.shape)
        np.copyto(flat, channels_first)
        return flat.reshape(x.shape[0], -1)

    @staticmethod
    def _in_order(x: Array) -> bool:
        """Whether the order channel, row, column is that in memory."""
        return x.ndim == 2 or x.shape[-1] == 1 or x.shape[1:3] == (1, 1)
