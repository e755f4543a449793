"""Pooling of x (n, h, w, c) to y (n, ho, wo, c), one shifted slice for each kernel position."""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.windows import Tap, Windows
from cnn_cli.nn.types import Array, Scratch


def max_pool(x: Array, windows: Windows, y: Array, index: Array, scratch: Scratch) -> None:
    """Write the largest value of each window to y, a NaN wins, and where it is to index.

    Shapes: x (n, h, w, c); y (n, ho, wo, c), written; index like y, unsigned integers, written
    with positions in the kernel in row-major order, the first one where several are equal.
    """
    _reduce(np.maximum, -np.inf, x, windows, y)
    # The index is the number of positions that come before the first equal one. Those outside the
    # input are never equal.
    missed = scratch("missed", y.shape, np.bool_)
    differs = scratch("differs", y.shape, np.bool_)
    missed.fill(True)
    index.fill(0)
    for tap in windows.taps[:-1]:
        if not windows.inside:
            differs.fill(True)
        np.not_equal(x[tap.source], y[tap.target], out=differs[tap.target])
        np.logical_and(missed, differs, out=missed)
        np.add(index, missed.view(np.uint8), out=index)


def max_pool_backward(
    dy: Array, index: Array, windows: Windows, dx: Array, scratch: Scratch
) -> None:
    """Write to dx the gradient that each maximum gets.

    Shapes: dy and index (n, ho, wo, c); dx (n, h, w, c), written everywhere.
    """
    chosen = scratch("chosen", dy.shape, np.bool_)
    if not windows.tiling:
        dx.fill(0)
    for position, tap in enumerate(windows.taps):
        np.equal(index, position, out=chosen)
        if windows.disjoint:
            np.multiply(dy[tap.target], chosen[tap.target], out=dx[tap.source])
        else:
            product = np.multiply(dy, chosen, out=scratch("product", dy.shape))
            _add_to(dx, tap, product)


def avg_pool(x: Array, windows: Windows, areas: Array, y: Array) -> None:
    """Write the mean of each window to y.

    Shapes: x (n, h, w, c); areas, what to divide by, (ho, wo, 1) or one number; y
    (n, ho, wo, c), written.
    """
    _reduce(np.add, 0, x, windows, y)
    np.divide(y, areas, out=y)


def avg_pool_backward(dy: Array, windows: Windows, areas: Array, dx: Array) -> None:
    """Write to dx each window's gradient, shared out among its elements.

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


def _reduce(ufunc: np.ufunc, identity: float, x: Array, windows: Windows, y: Array) -> None:
    """Write the reduction of each window by `ufunc` to y."""
    taps = windows.taps
    if windows.inside and len(taps) > 1:
        # Every position has all windows: two slices at once, and nothing to fill in.
        ufunc(x[taps[0].source], x[taps[1].source], out=y)
        taps = taps[2:]
    else:
        y.fill(identity)
    for tap in taps:
        ufunc(y[tap.target], x[tap.source], out=y[tap.target])


def _add_to(dx: Array, tap: Tap, values: Array) -> None:
    part = dx[tap.source]
    np.add(part, values[tap.target], out=part)
