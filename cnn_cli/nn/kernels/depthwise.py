"""Depthwise convolution: every output channel reads one input channel.

There is no sum over channels, so a matrix product is of no use. `einsum` iterates over views of the
windows, a multiply-add of a whole row (or, with a stride, of all channels of a pixel) at a time,
and sums stay in cache; kh * kw multiplications and additions of whole arrays took twice as long.
Images are NHWC, weights (kh, kw, 1, o). With m = o / c, output channels m * k to m * k + m - 1 read
input channel k.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.im2col import pad
from cnn_cli.nn.types import Array, Pair, Scratch, Shape


def forward(x: Array, weight: Array, geometry: Geometry, scratch: Scratch, y: Array) -> None:
    """Compute (n, h, w, c) -> (n, oh, ow, o); writes `y`. Arguments as in `conv.forward`."""
    padded = _padded(x, geometry, scratch)
    _correlate(padded, weight, geometry.stride, geometry.dilation, scratch, y)


def weight_gradient(
    x: Array, dy: Array, geometry: Geometry, scratch: Scratch, dweight: Array, fresh: bool
) -> None:
    """Compute (n, h, w, c), (n, oh, ow, o) -> (kh, kw, 1, o); adds to `dweight`.

    With `fresh`, `dweight` is overwritten.
    """
    kh, kw, _, o = dweight.shape
    padded = _padded(x, geometry, scratch)
    windows = _windows(padded, geometry.kernel_size, geometry.stride, geometry.dilation, dy.shape)
    n, oh, _, _, *run = windows.shape
    by_column = scratch("weight rows", (kh, kw, dy.shape[2], o))
    rows = by_column.reshape(kh, kw, *run)
    np.einsum("nrijql,nrql->ijql", windows, dy.reshape(n, oh, *run), out=rows)
    ones = scratch("ones", (1, dy.shape[2]))
    ones.fill(1)
    total = dweight if fresh else scratch("gradient", dweight.shape)
    np.matmul(ones, by_column, out=total)
    if not fresh:
        dweight += total


def input_gradient(
    dy: Array, weight: Array, geometry: Geometry, scratch: Scratch, dx: Array
) -> None:
    """Compute (n, oh, ow, o) -> (n, h, w, c); writes `dx`, which is zero outside all windows.

    This is the convolution of `dy`, with s - 1 zeros between its pixels, with the flipped kernel:
    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning".
    """
    n, h, w, c = dx.shape
    o = weight.shape[3]
    (rows, columns), (top, left) = geometry.reach, geometry.start
    spread = scratch("padded", (n, h + rows - 1, w + columns - 1, o))
    pad(dy, (rows - 1 - top, columns - 1 - left), spread, geometry.stride)
    wide = dx if o == c else scratch("widened", (n, h, w, o))
    _correlate(spread, weight[::-1, ::-1], (1, 1), geometry.dilation, scratch, wide)
    if wide is not dx:
        by_input = wide.reshape(n, h, w, c, o // c)
        np.copyto(dx, by_input[..., 0])
        for k in range(1, o // c):
            np.add(dx, by_input[..., k], out=dx)


def _correlate(
    padded: Array, weight: Array, stride: Pair, dilation: Pair, scratch: Scratch, y: Array
) -> None:
    """Compute (n, H, W, o), (kh, kw, 1, o) -> (n, oh, ow, o); writes `y`."""
    kh, kw, _, o = weight.shape
    windows = _windows(padded, (kh, kw), stride, dilation, y.shape)
    n, oh, _, _, *run = windows.shape
    rows = scratch("weight rows", (kh, kw, y.shape[2], o))
    rows[...] = weight
    np.einsum("nrijql,ijql->nrql", windows, rows.reshape(kh, kw, *run), out=y.reshape(n, oh, *run))


def _windows(
    padded: Array, kernel_size: Pair, stride: Pair, dilation: Pair, out_shape: Shape
) -> Array:
    """View (n, H, W, o) as (n, oh, kh, kw, q, l).

    The last two axes are the ow output pixels of a row and their o channels or, if all of these are
    adjacent in memory, an axis of 1 and one of ow * o.
    """
    n, oh, ow, o = out_shape
    by_image, by_row, by_column, by_channel = padded.strides
    windows: Array = np.ndarray(
        (n, oh, *kernel_size, *((1, ow * o) if stride[1] == 1 else (ow, o))),
        padded.dtype,
        buffer=padded.data,
        strides=(
            by_image,
            by_row * stride[0],
            by_row * dilation[0],
            by_column * dilation[1],
            by_column * stride[1],
            by_channel,
        ),
    )
    return windows


def _padded(x: Array, geometry: Geometry, scratch: Scratch) -> Array:
    """Pad (n, h, w, c) to (n, H, W, o), with each channel repeated for all outputs that read it."""
    n, _, _, c = x.shape
    o = geometry.out_channels
    if any(geometry.padding):
        padded = scratch("padded", (n, *geometry.padded_size, c))
        pad(x, geometry.start, padded)
        x = padded
    if o == c:
        return x
    wide = scratch("widened", (*x.shape[:3], o))
    wide.reshape(*x.shape, o // c)[...] = x[..., np.newaxis]
    return wide
