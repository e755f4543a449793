"""PReLU, an activation with a trained parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators, ParamSpec, ShapeError
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Count


class PReLU(Layer):
    """x above 0, a trained slope times x below; one slope, or one per channel.

    Args:
        in_shape: of one image.
        num_parameters: 1, or the number of channels.

    Raises:
        ShapeError: `num_parameters` is neither 1 nor the number of channels.
    """

    # He et al. 2015.
    kind: ClassVar[str] = "prelu"
    listed: ClassVar[int] = 200
    saves_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, num_parameters: Count = 1) -> None:
        if num_parameters not in (1, in_shape[-1]):
            raise ShapeError(f"num_parameters must be 1 or the number of channels {in_shape[-1]}")
        self.in_shape = self.out_shape = in_shape
        self.params = (ParamSpec("weight", (num_parameters,), "slope"),)

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        below = np.minimum(x, 0, out=run.scratch("below", x.shape))
        np.multiply(below, node.params["weight"], out=below)
        y = np.maximum(x, 0, out=run.take(x.shape))
        np.add(y, below, out=y)
        return y, x

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        """Return the gradient of x, written over dy."""
        below = np.minimum(saved, 0, out=run.scratch("below", saved.shape))
        np.multiply(below, dy, out=below)
        weight = node.params["weight"]
        node.add_row_sum("weight", below.reshape(-1, weight.size), run)
        if not node.need_dx:
            return None
        np.copyto(below, weight)
        positive = np.greater(saved, 0, out=run.scratch("positive", saved.shape, np.bool_))
        np.copyto(below, 1, where=positive)
        np.multiply(dy, below, out=dy)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        # Broadcast over channels first: (c, 1, 1), or (c,) for vectors.
        shape = (-1, 1, 1) if len(self.in_shape) == 3 else (-1,)
        slope = operators.constant(f"{name}.weight", arrays["weight"].reshape(shape))
        return operators.add("PRelu", [*inputs, slope], name)
