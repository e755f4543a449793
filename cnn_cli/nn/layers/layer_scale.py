"""A trained factor per channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ParamSpec
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Above0


class LayerScale(Layer):
    """Multiply each channel by a trained factor, at the end of a residual branch (Touvron et al.
    2021).

    Args:
        in_shape: of one image.
        init: initial value of the factors.
    """

    kind: ClassVar[str] = "layer_scale"
    listed: ClassVar[int] = 262
    saves_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, init: Above0 = 1e-6) -> None:
        self.in_shape = self.out_shape = in_shape
        self.params = (ParamSpec("weight", in_shape[-1:], "scale", value=init),)

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        y = run.take(x.shape)
        np.multiply(x, node.params["weight"], out=y)
        return y, x

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        """Return the gradient of x, written over dy."""
        product = np.multiply(dy, saved, out=run.scratch("product", dy.shape))
        node.add_row_sum("weight", product, run)
        if not node.need_dx:
            return None
        np.multiply(dy, node.params["weight"], out=dy)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        # Broadcast over channels first: (c, 1, 1), or (c,) for vectors.
        shape = (-1, 1, 1) if len(self.in_shape) == 3 else (-1,)
        weight = operators.constant(f"{name}.weight", arrays["weight"].reshape(shape))
        return operators.add("Mul", [*inputs, weight], name)
