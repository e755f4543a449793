"""The product that ends `squeeze_excite`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cnn_cli.nn.layers.base import ShapeError
from cnn_cli.nn.layers.product import Product
from cnn_cli.nn.types import Shape


class Excite(Product):
    """Multiply a map by one number per channel.

    Args:
        in_shapes: (h, w, c) and (c,).

    Raises:
        ShapeError: the inputs have other shapes.
    """

    kind: ClassVar[str] = "excite"

    def __init__(self, in_shapes: Sequence[Shape]) -> None:
        if [len(shape) for shape in in_shapes] != [3, 1] or in_shapes[0][2:] != in_shapes[1]:
            raise ShapeError("excitation needs a map and a number for each of its channels")
        super().__init__(in_shapes)
