"""Sums over pixels and per-channel affine maps, from which normalization is built.

Activations are (n, rows, c): n sets of rows that are normalized separately. Batchnorm has one set
with all pixels of a chunk; groupnorm has one set per image. Coefficients are (n, c), float64;
weight and bias are (c,).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cnn_cli.nn.kernels.activation import BY_LOOP
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.types import Array, Scratch

# Elements per row of the views passed to ufuncs: NumPy restarts its inner loop for each row, and 16
# channels are too short for that. 4 KiB stay in the first-level cache.
RUN = 1024


def channel_sum(x: Array) -> Array:
    """Sum over the rows: x (n, rows, c) to (n, c), float64."""
    runs = joined(x)
    ones = np.ones((1, runs.shape[1]), x.dtype)
    return _fold(np.matmul(ones, runs), x.shape[2])


def channel_dot(x: Array, y: Array) -> Array:
    """Sum of products over the rows: x and y (n, rows, c) to (n, c), float64."""
    return _fold(np.einsum("nij,nij->nj", joined(x), joined(y)), x.shape[2])


def center(x: Array, mean: Array, centered: Array) -> None:
    """Write x - mean. Shapes: x (n, rows, c); mean (n, c); centred like x, written."""
    runs = joined(x)
    np.subtract(runs, _tile(mean, runs), out=joined(centered))


def moments(x: Array, scratch: Scratch) -> tuple[Array, Array]:
    """Return mean and sum of squared deviations over the rows of x, each (n, c), float64.

    Two passes: squares are of deviations from a mean, and the remainder of the deviations' sum
    corrects both results (the corrected two-pass algorithm of Chan, Golub and LeVeque 1983).
    """
    rows = x.shape[1]
    near = (channel_sum(x) / rows).astype(x.dtype)
    centered = scratch("centered", x.shape)
    center(x, near, centered)
    rest = channel_sum(centered) / rows
    m2 = channel_dot(centered, centered) - rows * rest**2
    return near.astype(np.float64) + rest, np.maximum(m2, 0)


def normalize(
    x: Array,
    mean: Array,
    invstd: Array,
    weight: Array,
    bias: Array,
    activation: int,
    y: Array,
    scratch: Scratch,
) -> None:
    """Write the activation of (x - mean)·invstd·weight + bias.

    Shapes: x (n, rows, c); mean and invstd (n, c); y like x, written, may be x.
    """
    scale = weight * invstd
    affine(x, scale, bias - mean * scale, y)
    if activation != NONE:
        BY_LOOP[activation].forward(y, y, scratch)


def affine(x: Array, scale: Array, shift: Array, y: Array) -> None:
    """Write x·scale + shift.

    Shapes: x (n, rows, c); scale and shift (n, c); y like x, written, may be x.
    """
    runs, out = joined(x), joined(y)
    np.multiply(runs, _tile(scale, runs), out=out)
    np.add(out, _tile(shift, runs), out=out)


def scale_rows(x: Array, scale: Array) -> None:
    """Multiply x in place. Shapes: x (n, rows, c), overwritten; scale (n, c)."""
    runs = joined(x)
    np.multiply(runs, _tile(scale, runs), out=runs)


def gradient_sums(
    dy: Array,
    x: Array,
    mean: Array,
    invstd: Array,
    weight: Array,
    bias: Array,
    activation: int,
    scratch: Scratch,
) -> Array:
    """Return the sums over the rows of dy and of dy·(x - mean)·invstd: (2, n, c), float64.

    Shapes as in `normalize`. With an activation, dy is overwritten by the gradient of the
    activation's input, of which the sums are taken.
    """
    centered = scratch("centered", x.shape)
    if activation != NONE:
        normalize(x, mean, invstd, weight, bias, NONE, centered, scratch)
        BY_LOOP[activation].backward(dy, centered, scratch)
    center(x, mean, centered)
    # The mean that was subtracted is rounded to x's dtype.
    rounding = mean.astype(x.dtype) - mean
    sums = np.empty((2, *mean.shape))
    sums[0] = channel_sum(dy)
    sums[1] = (channel_dot(dy, centered) + rounding * sums[0]) * invstd
    return sums


def normalize_backward(
    dy: Array,
    x: Array,
    mean: Array,
    invstd: Array,
    weight: Array,
    mean_dy: Array,
    mean_dy_xhat: Array,
    scratch: Scratch,
) -> None:
    """Write the gradient of x over dy.

    With xhat = (x - mean)·invstd it is weight·invstd·dy - invstd·(mean_dy + xhat·mean_dy_xhat),
    computed as a·dy + b·x + c. If the scale is applied before the means are taken, as in batchnorm,
    mean_dy and mean_dy_xhat include the weight.

    Shapes: dy (n, rows, c), overwritten; x like dy; the others (n, c): the last two are means over
    all elements that were normalized together.
    """
    runs, out, work = joined(x), joined(dy), joined(scratch("centered", x.shape))
    b = -(invstd**2) * mean_dy_xhat
    c = -invstd * mean_dy - b * mean
    np.multiply(runs, _tile(b, runs), out=work)
    np.add(work, _tile(c, runs), out=work)
    np.multiply(out, _tile(weight * invstd, runs), out=out)
    np.add(out, work, out=out)


def joined(x: Array) -> Array:
    """View x (n, rows, c) with whole rows joined: (n, rows/r, r·c)."""
    n, rows, c = x.shape
    r = _rows_to_join(rows, c)
    return x.reshape(n, rows // r, r * c)


def _fold(sums: Array, c: int) -> Array:
    """Convert sums over the rows of `joined`, (n, r·c) in any shape, to (n, c) float64."""
    folded: Array = np.add.reduce(sums.reshape(len(sums), -1, c), axis=1, dtype=np.float64)
    return folded


def _tile(coefficients: Array, runs: Array) -> Array:
    """Repeat (n, c) to (n, 1, r·c) in the dtype of runs, to match the rows of `joined`."""
    n, c = coefficients.shape
    tiled = np.empty((n, runs.shape[2] // c, c), runs.dtype)
    tiled[...] = coefficients[:, None]
    return tiled.reshape(n, 1, -1)


@lru_cache(maxsize=4096)
def _rows_to_join(rows: int, c: int) -> int:
    """Return the largest divisor of rows that keeps a run within RUN elements."""
    r = max(1, min(rows, RUN // c))
    while rows % r:
        r -= 1
    return r
