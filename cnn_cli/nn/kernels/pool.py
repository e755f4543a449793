"""Pooling of x (n, h, w, c) to y (n, ho, wo, c), one shifted slice for each kernel position."""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.activation import relu
from cnn_cli.nn.kernels.loops.activation import RELU
from cnn_cli.nn.kernels.windows import Tap, Windows
from cnn_cli.nn.types import Array, Scratch

# Values per pixel up to which windows are split into parts: NumPy restarts its inner loop for each
# pixel of a strided slice, which dominates for few channels.
FEW_CHANNELS = 48


def max_pool(
    x: Array, windows: Windows, activation: int, y: Array, index: Array | None, scratch: Scratch
) -> None:
    """Write the activation of each window's maximum to y, and its position to index.

    NaN counts as the maximum.

    Shapes: x (n, h, w, c), contiguous; y (n, ho, wo, c), written; index like y, unsigned integers,
    written with positions in the kernel in row-major order, the first one among equals; or None.
    The activation is NONE or RELU; with RELU, a maximum that is not above 0 gets the number of
    positions as its index.
    """
    parts = _parts(x, windows, scratch)
    _reduce(np.maximum, -np.inf, parts, windows, y)
    if index is not None:
        _find(parts, windows, y, index, scratch)
    if activation == RELU:
        if index is not None:
            # A mask is ten times slower than arithmetic.
            positive = np.greater(y, 0, out=scratch("differs", y.shape, np.bool_))
            np.logical_not(positive, out=positive)
            nowhere = scratch("nowhere", y.shape, index.dtype)
            np.multiply(positive, index.dtype.type(len(windows.taps)), out=nowhere)
            np.maximum(index, nowhere, out=index)
        relu(y, y, scratch)


def _find(parts: list[Array], windows: Windows, y: Array, index: Array, scratch: Scratch) -> None:
    """Write to index which of the parts of `_parts` is the first that equals y."""
    # That is the number of parts before it. Positions outside the input are never equal.
    missed = scratch("missed", y.shape, np.bool_)
    differs = scratch("differs", y.shape, np.bool_)
    missed.fill(True)
    index.fill(0)
    for part, tap in zip(parts[:-1], windows.taps, strict=False):
        if not windows.inside:
            differs.fill(True)
        np.not_equal(part, y[tap.target], out=differs[tap.target])
        np.logical_and(missed, differs, out=missed)
        np.add(index, missed.view(np.uint8), out=index)


def max_pool_backward(
    dy: Array, index: Array, windows: Windows, dx: Array, scratch: Scratch
) -> None:
    """Write to dx the gradient of each maximum.

    Shapes: dy and index (n, ho, wo, c); dx (n, h, w, c), written everywhere.
    """
    chosen = scratch("chosen", dy.shape, np.bool_)
    part = scratch("part", dy.shape)
    if not windows.tiling:
        dx.fill(0)
    for position, tap in enumerate(windows.taps):
        np.equal(index, position, out=chosen)
        np.multiply(dy, chosen, out=part)
        if windows.disjoint:
            np.copyto(_pixels(dx)[tap.source], _pixels(part)[tap.target])
        else:
            _add_to(dx, tap, part)


def avg_pool(x: Array, windows: Windows, areas: Array, y: Array) -> None:
    """Write the mean of each window to y.

    Shapes: x (n, h, w, c); areas, the divisors, (ho, wo, 1) or one number; y (n, ho, wo, c),
    written.
    """
    _reduce(np.add, 0, [x[tap.source] for tap in windows.taps], windows, y)
    np.divide(y, areas, out=y)


def avg_pool_backward(dy: Array, windows: Windows, areas: Array, dx: Array) -> None:
    """Write to dx each window's gradient, distributed over its elements.

    Shapes: dy (n, ho, wo, c), overwritten; areas as for `avg_pool`; dx (n, h, w, c), written
    everywhere.
    """
    np.divide(dy, areas, out=dy)
    if not windows.tiling:
        dx.fill(0)
    for tap in windows.taps:
        if windows.disjoint:
            np.copyto(dx[tap.source], dy[tap.target])
        else:
            _add_to(dx, tap, dy)


def global_avg_pool(x: Array, y: Array) -> None:
    """Write the mean over the pixels to y. Shapes: x (n, pixels, c); y (n, c), written."""
    pixels = x.shape[1]
    ones = np.ones((1, pixels), x.dtype)
    np.matmul(ones, x, out=y[:, None])
    np.divide(y, pixels, out=y)


def global_avg_pool_backward(dy: Array, dx: Array) -> None:
    """Write dy / pixels to every pixel. Shapes: dy (n, c), overwritten; dx (n, pixels, c)."""
    np.divide(dy, dx.shape[1], out=dy)
    np.copyto(dx, dy[:, None])


def _parts(x: Array, windows: Windows, scratch: Scratch) -> list[Array]:
    """Return the elements under each kernel position, for x (n, h, w, c); with few channels,
    copies.
    """
    sources = [tap.source for tap in windows.taps]
    if not windows.inside or x.shape[3] > FEW_CHANNELS:
        return [x[source] for source in sources]
    copies = scratch("parts", (len(sources), len(x), *windows.out_size, x.shape[3]))
    for copy, source in zip(copies, sources, strict=True):
        np.copyto(_pixels(copy), _pixels(x)[source])
    return list(copies)


def _pixels(x: Array) -> Array:
    """View (n, h, w, c) as (n, h, w): a pixel is one opaque element, which is copied faster."""
    return x.view(np.dtype((np.void, x.shape[3] * x.itemsize)))[..., 0]


def _reduce(
    ufunc: np.ufunc, identity: float, parts: list[Array], windows: Windows, y: Array
) -> None:
    """Write the reduction of each window by `ufunc` to y; parts are from `_parts`."""
    pairs = list(zip(parts, windows.taps, strict=True))
    if windows.inside and len(parts) > 1:
        # Every position belongs to all windows: reduce two slices at once, without filling.
        ufunc(parts[0], parts[1], out=y)
        pairs = pairs[2:]
    else:
        y.fill(identity)
    for part, tap in pairs:
        ufunc(y[tap.target], part, out=y[tap.target])


def _add_to(dx: Array, tap: Tap, values: Array) -> None:
    part = dx[tap.source]
    np.add(part, values[tap.target], out=part)
