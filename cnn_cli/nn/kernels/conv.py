"""Convolution: forward, weight gradient and input gradient, for all paths but Winograd.

Images are NHWC; weights are (kh, kw, c / groups, o) with the outputs of a group adjacent.
`loops/conv.py` contains the definition against which all of this is tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cnn_cli.nn.kernels import taps
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.im2col import im2col, pad
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.kernels.paths import Path
from cnn_cli.nn.kernels.product import Block, add_transposed, blocks, multiply
from cnn_cli.nn.types import Array, Scratch

COLUMN_BYTES = 4 << 20
"""Bytes for the windows of one product: they fit the cache, and larger products gain nothing."""


def forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    geometry: Geometry,
    path: Path,
    scratch: Scratch,
    y: Array,
    kernels: Kernels = NUMPY,
) -> None:
    """Compute (n, h, w, c) -> (n, oh, ow, o); writes `y`.

    Args:
        x: the images, contiguous.
        weight: (kh, kw, c / groups, o), contiguous.
        bias: (o,) or None.
        geometry: the sizes.
        path: a path that `paths.can_take` allows.
        scratch: returns uninitialized memory by name and shape.
        y: contiguous.
        kernels: for everything but matrix products.
    """
    if path == "taps":
        taps.forward(x, weight, bias, geometry, scratch, y)
        return
    row = None if bias is None else _bias_row(bias, y, scratch)
    if path == "depthwise":
        kernels.depthwise_forward(x, weight, geometry, scratch, y)
        if row is not None:
            np.add(y, row, out=y)
        return
    by_group = _group_weight(weight, geometry.groups)
    for at, columns in _columns(x, geometry, path, scratch):
        part = y[at]
        multiply(columns, by_group, _group(part, geometry.groups))
        if row is not None:
            np.add(part, row, out=part)


def weight_gradient(
    x: Array,
    dy: Array,
    geometry: Geometry,
    path: Path,
    scratch: Scratch,
    dweight: Array,
    fresh: bool,
    kernels: Kernels = NUMPY,
) -> None:
    """Compute (n, h, w, c), (n, oh, ow, o) -> (kh, kw, c / groups, o); adds to `dweight`.

    With `fresh`, `dweight` is overwritten. The other arguments are those of `forward`.
    """
    if path == "taps":
        taps.weight_gradient(x, dy, geometry, scratch, dweight, fresh)
        return
    if path == "depthwise":
        kernels.depthwise_weight_gradient(x, dy, geometry, scratch, dweight, fresh)
        return
    by_group = _group_weight(dweight, geometry.groups)
    for at, columns in _columns(x, geometry, path, scratch):
        add_transposed(columns, _group(dy[at], geometry.groups), scratch, by_group, fresh)
        fresh = False


def input_gradient(
    dy: Array,
    weight: Array,
    geometry: Geometry,
    path: Path,
    scratch: Scratch,
    dx: Array,
    kernels: Kernels = NUMPY,
) -> None:
    """Compute (n, oh, ow, o) -> (n, h, w, c); writes `dx`. Other arguments as in `forward`."""
    if path == "depthwise":
        kernels.depthwise_input_gradient(dy, weight, geometry, scratch, dx)
    elif path == "pointwise":
        by_group = _group_weight(weight, geometry.groups).transpose(0, 2, 1)
        np.matmul(_group(dy, geometry.groups), by_group, out=_group(dx, geometry.groups))
    elif _gathers(geometry, dy.shape[0]):
        _gather(dy, weight, geometry, scratch, dx)
    else:
        _scatter(dy, weight, geometry, scratch, dx, kernels)


def _gathers(geometry: Geometry, n: int) -> bool:
    """Whether to compute the input gradient by gathering, by estimated time in nanoseconds.

    Gathering multiplies for every input pixel and flips the weight, which is slow for many channels
    on small maps. Scattering multiplies for every output pixel, of which there are fewer without
    padding, but adding is slower than copying, most of all for short runs.
    """
    if geometry.stride != (1, 1):
        return False
    h, w, c = geometry.in_shape
    (oh, ow), o = geometry.out_size, geometry.out_channels
    kh, kw, c_group, _ = geometry.weight_shape
    o_group = o // geometry.groups
    adding = 0.5 if c == 1 else 0.25 + 8 / c_group
    gather = n * h * w * kh * kw * o * (0.15 + c_group / 75) + kh * kw * c_group * o
    scatter = n * oh * ow * kh * kw * c * (adding + o_group / 75)
    return gather < scatter


def _gather(dy: Array, weight: Array, geometry: Geometry, scratch: Scratch, dx: Array) -> None:
    """Compute `input_gradient` as a convolution of `dy`, for stride 1."""
    kh, kw, c, o = weight.shape
    groups = geometry.groups
    turned = scratch("turned weight", (kh, kw, o // groups, groups, c))
    by_tap = weight[::-1, ::-1].reshape(kh, kw, c, groups, o // groups)
    np.copyto(turned, by_tap.transpose(0, 1, 4, 3, 2))
    turned = turned.reshape(kh, kw, o // groups, groups * c)
    forward(dy, turned, None, geometry.transposed(), "im2col", scratch, dx)


def _scatter(
    dy: Array,
    weight: Array,
    geometry: Geometry,
    scratch: Scratch,
    dx: Array,
    kernels: Kernels,
) -> None:
    """Compute `input_gradient` by adding each window's gradient to the pixels of the window.

    Rows and columns outside all windows stay zero.
    """
    groups, (kh, kw) = geometry.groups, geometry.kernel_size
    n, oh, _, _ = dy.shape
    c = geometry.in_shape[2] // groups
    by_group = _group_weight(weight, groups).transpose(0, 2, 1)
    dx.fill(0)
    for images, rows in _blocks(n, oh, geometry, dy.itemsize):
        slopes = dy[images, rows]
        columns = scratch("columns", (groups, *slopes.shape[:3], kh, kw, c))
        np.matmul(_group(slopes, groups), by_group, out=columns.reshape(groups, -1, kh * kw * c))
        place = geometry.start, geometry.stride, geometry.dilation, rows.start
        kernels.col2im(columns, *place, dx[images])


def _columns(
    x: Array, geometry: Geometry, path: Path, scratch: Scratch
) -> Iterator[tuple[Block, Array]]:
    """Yield the windows, (groups, pixels, kh * kw * c / groups), block by block.

    Each comes with its images and output rows. The next block may reuse its memory.
    """
    groups, (kh, kw) = geometry.groups, geometry.kernel_size
    if path == "pointwise":
        yield (slice(None), slice(None)), _group(x, groups)
        return
    if any(geometry.padding):
        padded = scratch("padded", (x.shape[0], *geometry.padded_size, x.shape[3]))
        pad(x, geometry.start, padded)
        x = padded
    oh, ow = geometry.out_size
    c = x.shape[3] // groups
    for images, rows in _blocks(x.shape[0], oh, geometry, x.itemsize):
        size = images.stop - images.start, rows.stop - rows.start, ow
        columns = scratch("columns", (groups, *size, kh, kw, c))
        im2col(x, geometry.stride, geometry.dilation, images.start, rows.start, columns)
        yield (images, rows), columns.reshape(groups, -1, kh * kw * c)


def _blocks(n: int, oh: int, geometry: Geometry, itemsize: int) -> Iterator[Block]:
    """Divide n images, or the rows of a large one, into equal parts.

    A product with a large weight needs many pixels to amortize reading the weight.
    """
    kh, kw, c, o = geometry.weight_shape
    budget = max(COLUMN_BYTES, 2 * kh * kw * c * o * itemsize)
    row_bytes = geometry.out_size[1] * kh * kw * geometry.in_shape[2] * itemsize
    return blocks(n, oh, budget // row_bytes)


def _group(images: Array, groups: int) -> Array:
    """View (n, h, w, c) as (groups, n * h * w, c / groups), for one product per group."""
    return images.reshape(-1, groups, images.shape[-1] // groups).transpose(1, 0, 2)


def _group_weight(weight: Array, groups: int) -> Array:
    """View (kh, kw, c, o) as (groups, kh * kw * c, o / groups)."""
    o = weight.shape[3]
    return weight.reshape(-1, groups, o // groups).transpose(1, 0, 2)


def _bias_row(bias: Array, y: Array, scratch: Scratch) -> Array:
    """Repeat the bias (o,) to (ow, o), a whole row of `y`: adding short runs is slow."""
    row = scratch("bias row", y.shape[2:])
    row[...] = bias
    return row
