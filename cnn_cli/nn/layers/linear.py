"""Fully connected layer."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.kernels.paths import Backend, packed_shape, predicting_path
from cnn_cli.nn.layers.base import Layer, Operators, ParamSpec
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Features, Flag

FEWEST_IMAGES = 3
"""For the path `direct`: tiles of fewer would mostly compute one image again."""


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

    def for_prediction(self, backend: Backend) -> Linear:
        other = copy(self)
        if predicting_path("pointwise", self._geometry, backend) == "direct":
            other.path = "direct"
            other.prepared = packed_shape(self._geometry.weight_shape)
        return other

    def prepare(self, params: Mapping[str, Array], out: Array) -> None:
        from cnn_cli.nn.kernels import direct  # compiled kernels alone take this path

        *size, c = self.in_shape
        by_channel = params["weight"].reshape(*self.out_shape, c, *(size or (1, 1)))
        direct.pack(by_channel.transpose(2, 3, 1, 0), out)

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        y = run.take((x.shape[0], *self.out_shape))
        if self.path == "direct" and len(x) >= FEWEST_IMAGES:
            pixels = x.reshape(len(x), 1, 1, -1)
            given = self._geometry, NONE, run.scratch, run.share, y.reshape(len(x), 1, 1, -1)
            run.kernels.direct_forward(pixels, node.prepared, self._bias(node, run), *given)
            return y, x
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

    def _bias(self, node: NodeContext, run: RunContext) -> Array:
        if "bias" in node.params:
            return node.params["bias"]
        nothing = run.scratch("no bias", self.out_shape)
        nothing.fill(0)
        return nothing

    @property
    def _geometry(self) -> Geometry:
        """The geometry of the equivalent 1×1 convolution of a single pixel."""
        return Geometry((1, 1, prod(self.in_shape)), self.out_shape[0], (1, 1))

    @staticmethod
    def _in_order(x: Array) -> bool:
        """Whether the order channel, row, column is that in memory."""
        return x.ndim == 2 or x.shape[-1] == 1 or x.shape[1:3] == (1, 1)
