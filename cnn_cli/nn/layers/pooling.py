"""What max and average pooling share; meaning and shapes are PyTorch's, the layout is NHWC."""

from __future__ import annotations

from cnn_cli.nn.kernels.windows import Windows, pooled_size
from cnn_cli.nn.layers.base import Layer, ShapeError
from cnn_cli.nn.types import Pair, Shape


class Pool(Layer):
    """What max and average pooling share: the geometry.

    Args:
        in_shape: (h, w, c).
        kernel_size, stride, padding, dilation: (height, width) in pixels; padding is at most
            half the kernel.
        ceil_mode: round the number of windows up, not down; a window must still start inside
            the input or the padding before it.

    Raises:
        ShapeError: no map, too much padding, or no window fits.
    """

    def __init__(
        self,
        in_shape: Shape,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> None:
        h, w, c = map_shape(in_shape)
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True))
        if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
            raise ShapeError("padding must be at most half of kernel_size")
        ho, wo = (
            pooled_size(size, k, s, p, ceil_mode)
            for size, k, s, p in zip((h, w), reach, stride, padding, strict=True)
        )
        if ho < 1 or wo < 1:
            kernel = "x".join(map(str, reach))
            raise ShapeError(
                f"kernel_size {kernel}{_with_dilation(dilation)} must fit the padded input"
                f" of {h + 2 * padding[0]}x{w + 2 * padding[1]}"
            )
        self.in_shape = in_shape
        self.out_shape = (ho, wo, c)
        self.windows = Windows((h, w), (ho, wo), kernel_size, stride, padding, dilation)


def _with_dilation(dilation: Pair) -> str:
    return "" if dilation == (1, 1) else " with its dilation"


def map_shape(in_shape: Shape) -> tuple[int, int, int]:
    if len(in_shape) != 3:
        raise ShapeError("pooling needs a map: height, width and channels")
    h, w, c = in_shape
    return h, w, c
