"""Convolution of images with few channels.

Windows of 1 or 3 channels are short runs, which are slow to copy. This path uses the transposed
matrix of `im2col`: one row per tap, that is, one channel of the image, shifted. The images are
first split into channels (and, with a stride, into every stride-th column), so that rows are copied
in runs as long as the output is wide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.im2col import tap_slices
from cnn_cli.nn.kernels.product import Block, add_transposed, blocks, multiply
from cnn_cli.nn.types import Array, Scratch

TAP_BYTES = 2 << 20
"""Bytes for the taps of one block; smaller blocks cost more calls."""


def forward(
    x: Array, weight: Array, bias: Array | None, geometry: Geometry, scratch: Scratch, y: Array
) -> None:
    """Compute (n, h, w, c) -> (n, oh, ow, o); writes `y`. Arguments as in `conv.forward`."""
    o = weight.shape[3]
    matrix = weight.reshape(1, -1, o)
    if bias is not None:
        # A constant tap of 1 adds the bias, without another pass over y.
        with_bias = scratch("weight and bias", (1, matrix.shape[1] + 1, o))
        with_bias[0, :-1], with_bias[0, -1] = matrix[0], bias
        matrix = with_bias
    for (images, rows), taps in _taps(x, geometry, scratch, with_one=bias is not None):
        multiply(taps, matrix, y[images, rows].reshape(1, -1, o))


def weight_gradient(
    x: Array, dy: Array, geometry: Geometry, scratch: Scratch, dweight: Array, fresh: bool
) -> None:
    """Compute (n, h, w, c), (n, oh, ow, o) -> (kh, kw, c, o); adds to `dweight`.

    With `fresh`, `dweight` is overwritten.
    """
    o = dy.shape[3]
    matrix = dweight.reshape(1, -1, o)
    for (images, rows), taps in _taps(x, geometry, scratch, with_one=False):
        add_transposed(taps, dy[images, rows].reshape(1, -1, o), scratch, matrix, fresh)
        fresh = False


def _taps(
    x: Array, geometry: Geometry, scratch: Scratch, *, with_one: bool
) -> Iterator[tuple[Block, Array]]:
    """Yield images and output rows, and their taps, (1, pixels, kh * kw * c).

    The last axis of the taps has the largest stride. With `with_one`, a tap of ones follows.
    """
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel_size, geometry.stride, geometry.dilation
    planes = _planes(x, geometry, scratch)
    c, oh, ow = planes.shape[0], *geometry.out_size
    count = kh * kw * c + with_one
    for images, rows in blocks(x.shape[0], oh, TAP_BYTES // (count * ow * x.itemsize)):
        size = images.stop - images.start, rows.stop - rows.start, ow
        taps = scratch("columns", (count, *size))
        by_position = taps[: kh * kw * c].reshape(kh, kw, c, *size)
        for i in range(kh):
            first = rows.start * sh + i * dh
            last = first + (size[1] - 1) * sh + 1
            for j in range(kw):
                column, phase = divmod(j * dw, sw)
                shifted = planes[:, phase, images, first:last:sh, column : column + ow]
                np.copyto(by_position[i, j], shifted)
        if with_one:
            taps[-1] = 1
        yield (images, rows), taps.reshape(1, count, -1).transpose(0, 2, 1)


def _planes(x: Array, geometry: Geometry, scratch: Scratch) -> Array:
    """Split (n, h, w, c) into (c, stride, n, H, ceil(W / stride)), the channels of the padded
    images.

    Each row is split into every `stride`-th column from the first on, from the second on, and so
    on.
    """
    n, h, w, c = x.shape
    step = geometry.stride[1]
    height, width = geometry.padded_size
    if c == step == 1 and not any(geometry.padding):
        return x.reshape(1, 1, n, h, w)
    columns = ceil_div(width, step)
    planes = scratch("planes", (c, step, n, height, columns))
    if any(geometry.padding) or columns * step > width:
        planes.fill(0)
    top, left = geometry.start
    from_rows, to_rows = tap_slices(top, 1, h, height)
    for phase in range(step):
        to_columns, from_columns = tap_slices(phase - left, step, columns, w)
        channels_first = x[:, from_rows, from_columns].transpose(3, 0, 1, 2)
        np.copyto(planes[:, phase, :, to_rows, to_columns], channels_first)
    return planes
