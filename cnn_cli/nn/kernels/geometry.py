"""The sizes of a convolution, shared by its kernels."""

from __future__ import annotations

from cnn_cli.nn.types import Pair, Shape
from cnn_cli.structs import Struct

Padding = tuple[int, int, int, int]


class Geometry(Struct):
    """Sizes of one convolution; pairs are (height, width).

    Attributes:
        in_shape: (h, w, c).
        out_channels: o.
        kernel_size: (kh, kw).
        stride, dilation: in pixels.
        padding: (top, bottom, left, right) pixels; negative numbers crop.
        groups: a divisor of c and o.
    """

    in_shape: Shape
    out_channels: int
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def start(self) -> Pair:
        """Rows of padding above and columns of it to the left."""
        return self.padding[0], self.padding[2]

    @property
    def padded_size(self) -> Pair:
        h, w, _ = self.in_shape
        top, bottom, left, right = self.padding
        return h + top + bottom, w + left + right

    @property
    def reach(self) -> Pair:
        """Height and width of the dilated kernel, d * (k - 1) + 1."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    @property
    def out_size(self) -> Pair:
        """(h + 2p - d * (k - 1) - 1) // s + 1; below 1 where the kernel does not fit."""
        (h, w), (kh, kw), (sh, sw) = self.padded_size, self.reach, self.stride
        return (h - kh) // sh + 1, (w - kw) // sw + 1

    @property
    def weight_shape(self) -> Shape:
        return (*self.kernel_size, self.in_shape[2] // self.groups, self.out_channels)

    @property
    def pointwise(self) -> bool:
        """Whether each window is a single pixel."""
        return (*self.kernel_size, *self.stride, *self.padding) == (1, 1, 1, 1, 0, 0, 0, 0)

    @property
    def depthwise(self) -> bool:
        """Whether each output reads one input channel. False for a single input channel: there a
        matrix product with all outputs is faster.
        """
        return self.groups == self.in_shape[2] > 1

    def transposed(self) -> Geometry:
        """Return the convolution of dy with the flipped kernel that computes dx; for stride 1."""
        (rows, columns), (top, bottom, left, right) = self.reach, self.padding
        return Geometry(
            in_shape=(*self.out_size, self.out_channels),
            out_channels=self.in_shape[2],
            kernel_size=self.kernel_size,
            padding=(rows - 1 - top, rows - 1 - bottom, columns - 1 - left, columns - 1 - right),
            dilation=self.dilation,
            groups=self.groups,
        )
