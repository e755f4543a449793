"""The channels of one branch of `split`."""

from __future__ import annotations

from typing import ClassVar

from cnn_cli.nn.layers.base import ShapeError
from cnn_cli.nn.layers.pooling import map_shape
from cnn_cli.nn.layers.slice import ChannelSlice
from cnn_cli.nn.types import Shape
from cnn_cli.schema.constraints import Count, Whole


class ChannelPart(ChannelSlice):
    """One of several equal parts of the channels.

    Args:
        in_shape: (h, w, c).
        parts: how many there are.
        index: which it is, from 0.

    Raises:
        ShapeError: the input is not a map, or its channels cannot be divided so.
    """

    kind: ClassVar[str] = "part"
    listed: ClassVar[int] = 0

    def __init__(self, in_shape: Shape, *, parts: Count, index: Whole) -> None:
        c = map_shape(in_shape)[-1]
        if c % parts:
            raise ShapeError(f"{parts} branches must divide the number of channels {c}")
        if index >= parts:
            raise ShapeError(f"index {index} must be below {parts}")
        size = c // parts
        super().__init__(in_shape, start=index * size, stop=(index + 1) * size)
