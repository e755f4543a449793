"""The base of max and average pooling; semantics as in PyTorch, layout NHWC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnn_cli.nn.kernels.windows import Windows, pooled_size
from cnn_cli.nn.layers.base import Layer, ShapeError, shape_text
from cnn_cli.nn.layers.padding import Around, padded_shape, sides
from cnn_cli.nn.types import Shape
from cnn_cli.schema.constraints import Flag, Pair


class Pool(Layer):
    """A window that is moved over each channel: what max and average pooling share.

    Args:
        in_shape: (h, w, c).
        kernel_size: height and width of the window.
        stride: step between windows; by default `kernel_size`.
        padding: rows and columns added on each side, at most half a window: one number, two,
            [height, width], or four, [top, bottom, left, right].
        ceil_mode: let the last window extend over the edge.
        dilation: step between the places of a window.

    Raises:
        ShapeError: the input is not a map, too much padding, or no window fits.
    """

    @classmethod
    def complete(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        kernel_size = arguments["kernel_size"]
        around = sides(arguments["padding"])
        if any(2 * p > kernel_size[i // 2] for i, p in enumerate(around)):
            raise ShapeError("padding must be at most half of kernel_size")
        return {**arguments, "stride": arguments.get("stride") or kernel_size}

    def __init__(
        self,
        in_shape: Shape,
        *,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Around = (0, 0),
        ceil_mode: Flag = False,
        dilation: Pair = (1, 1),
    ) -> None:
        h, w, c = map_shape(in_shape)
        self.complete({"kernel_size": kernel_size, "padding": padding})
        stride = stride or kernel_size
        top, bottom, left, right = around = sides(padding)
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True))
        ho, wo = (
            pooled_size(size, k, s, p, ceil_mode)
            for size, k, s, p in zip(
                (h, w), reach, stride, ((top, bottom), (left, right)), strict=True
            )
        )
        if ho < 1 or wo < 1:
            kernel = "x".join(map(str, reach))
            padded = shape_text(padded_shape(in_shape, around, "zeros")[:2])
            raise ShapeError(
                f"kernel_size {kernel}{_with_dilation(dilation)} must fit the padded input"
                f" of {padded}"
            )
        self.in_shape = in_shape
        self.out_shape = (ho, wo, c)
        sizes = (h, w), (ho, wo), kernel_size, stride
        self.windows = Windows(*sizes, (top, left), dilation, (bottom, right))

    def onnx_pads(self) -> tuple[int, ...]:
        """Return the padding above, left, below and right, including what `ceil_mode` adds."""
        windows = self.windows
        ends = (
            max((out - 1) * stride + reach - size - start, 0)
            for out, stride, reach, size, start in zip(
                windows.out_size,
                windows.stride,
                windows.reach,
                windows.in_size,
                windows.padding,
                strict=True,
            )
        )
        return (*windows.padding, *ends)


def _with_dilation(dilation: Pair) -> str:
    return "" if dilation == (1, 1) else " with its dilation"


def map_shape(in_shape: Shape) -> tuple[int, int, int]:
    """Return the height, width and channels of an input.

    Raises:
        ShapeError: it is not a map.
    """
    if len(in_shape) != 3:
        raise ShapeError("pooling needs a map: height, width and channels")
    h, w, c = in_shape
    return h, w, c
