"""Padding as numbers of rows and columns."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from cnn_cli.nn.kernels.geometry import Padding
from cnn_cli.nn.layers.base import Operators, ShapeError
from cnn_cli.nn.types import Pair, Shape
from cnn_cli.schema.constraints import Must, PairOrZero, Sides

Around = Annotated[
    PairOrZero | Sides,
    Must(
        "a whole number, 0 or more",
        "two whole numbers, 0 or more, [height, width], or four, [top, bottom, left, right]",
    ),
]
PaddingMode = Annotated[Literal["zeros", "reflect"], Must("zeros or reflect")]


def sides(padding: Pair | Padding) -> Padding:
    """Return (top, bottom, left, right) from four numbers or from (height, width)."""
    if len(padding) == 4:
        return padding
    return padding[0], padding[0], padding[1], padding[1]


def padded_shape(in_shape: Shape, padding: Padding, mode: str) -> Shape:
    """Return a map's shape with its padding.

    Raises:
        ShapeError: it has too few pixels to be reflected, or to be cut off.
    """
    h, w, c = in_shape
    top, bottom, left, right = padding
    if mode == "reflect" and min(padding) < 0:
        raise ShapeError("padding by reflection must not be below 0")
    if h + min(top, 0) + min(bottom, 0) < 1 or w + min(left, 0) + min(right, 0) < 1:
        raise ShapeError("padding must leave a row and a column of the map")
    if mode == "reflect" and (max(top, bottom) >= h or max(left, right) >= w):
        raise ShapeError("padding by reflection must be smaller than the map")
    return h + top + bottom, w + left + right, c


def pad_onnx(
    inputs: list[str],
    name: str,
    padding: Padding,
    mode: str,
    operators: Operators,
    value: float = 0.0,
) -> str:
    """Add the ONNX operator that pads a map, with `value` unless it is reflected."""
    top, bottom, left, right = padding
    around = operators.constant(f"{name}.around", [0, 0, top, left, 0, 0, bottom, right])
    inputs = [*inputs, around]
    if value:
        inputs.append(operators.constant(f"{name}.value", np.array(value)))
    return operators.add("Pad", inputs, name, mode="constant" if mode == "zeros" else mode)
