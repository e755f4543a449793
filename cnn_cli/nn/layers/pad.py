"""Padding as a layer of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.im2col import pad
from cnn_cli.nn.kernels.reflect import fold_reflected, reflect
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.layers.padding import PaddingMode, pad_onnx, padded_shape, sides
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Must, SignedPair, SignedSides

Border = Annotated[
    SignedPair | SignedSides,
    Must(
        "a whole number",
        "two whole numbers, [height, width], or four, [top, bottom, left, right]",
    ),
]


class Pad(Layer):
    """Rows and columns around a map, as PyTorch's ZeroPad2d and ReflectionPad2d.

    A convolution's own `padding` costs less.

    Args:
        in_shape: (h, w, c).
        padding: rows and columns added on each side, or cut off where it is below 0: one number,
            two, [height, width], or four, [top, bottom, left, right].
        padding_mode: what is added: `zeros`, or `reflect`, the map mirrored at its edges.

    Raises:
        ShapeError: the input is not a map, or is too small to be reflected or cropped that far.
    """

    kind: ClassVar[str] = "pad"
    listed: ClassVar[int] = 205

    def __init__(
        self, in_shape: Shape, *, padding: Border, padding_mode: PaddingMode = "zeros"
    ) -> None:
        self.in_shape = map_shape(in_shape)
        self.padding = sides(padding)
        self.padding_mode = padding_mode
        self.out_shape = padded_shape(in_shape, self.padding, padding_mode)

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, None]:
        y = run.take((x.shape[0], *self.out_shape))
        if self.padding_mode == "reflect":
            reflect(x, self.padding, y)
        else:
            pad(x, (self.padding[0], self.padding[2]), y)
        return y, None

    def backward(self, dy: Array, saved: None, node: NodeContext, run: RunContext) -> Array | None:
        if not node.need_dx:
            return None
        dx = run.take((dy.shape[0], *self.in_shape))
        if self.padding_mode == "reflect":
            fold_reflected(dy, self.padding, dx)
        else:
            pad(dy, (-self.padding[0], -self.padding[2]), dx)
        return dx

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return pad_onnx(inputs, name, self.padding, self.padding_mode, operators)
