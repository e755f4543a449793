"""The identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.types import Array, Shape


class Identity(Layer):
    """The identity; it replaces a layer that is fused into another one.

    Args:
        in_shape: of one image.
    """

    kind: ClassVar[str] = "identity"
    is_view: ClassVar[bool] = True

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = self.out_shape = in_shape

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        return x, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        return dy if node.need_dx else None

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return inputs[0]
