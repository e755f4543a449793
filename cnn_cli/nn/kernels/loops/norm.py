"""Normalization as in `kernels.norm`, element by element.

x, y and dy are (n, rows, width): n sets of rows that are normalized separately. A row contains the
c channels of one or several consecutive pixels: c divides the width, and long rows make fast loops.
Coefficients, float64, are (n, c); weight and bias, like x, are (c,).
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.loops.activation import NONE, RELU, activate_row, activate_row_backward
from cnn_cli.nn.types import Array

SAMPLE = 8  # step between the rows from which a first mean is computed


def moments(x: Array, mean: Array, m2: Array) -> None:
    """Write mean and sum of squared deviations over the pixels.

    Deviations are from the mean of a sample, and the remainder of their sum corrects both results.
    The sample is an eighth of x, so its mean is close enough that the rounding error grows at most
    9 times.
    """
    n, rows, width = x.shape
    c = mean.shape[1]
    pixels = rows * (width // c)
    total, squares = np.empty(width, x.dtype), np.empty(width, x.dtype)
    near, rest = np.empty(width, x.dtype), np.empty(c, np.float64)
    for i in range(n):
        total.fill(0)
        sampled = 0
        for r in range(0, rows, SAMPLE):
            row = x[i, r]
            for k in range(width):
                total[k] += row[k]
            sampled += width // c
        fold(total, mean[i])
        for k in range(c):
            mean[i, k] /= sampled
        tile(mean[i], near)
        total.fill(0)
        squares.fill(0)
        for r in range(rows):
            row = x[i, r]
            for k in range(width):
                deviation = row[k] - near[k]
                total[k] += deviation
                squares[k] += deviation * deviation
        fold(total, rest)
        fold(squares, m2[i])
        for k in range(c):
            rest[k] /= pixels
            mean[i, k] = near[k] + rest[k]
            m2[i, k] = max(m2[i, k] - pixels * rest[k] * rest[k], 0.0)


def normalize(
    x: Array, mean: Array, invstd: Array, weight: Array, bias: Array, kind: int, y: Array
) -> None:
    """Write the activation of (x - mean)·invstd·weight + bias to y, which may be x."""
    n, rows, width = x.shape
    scale, shift = np.empty(width, x.dtype), np.empty(width, x.dtype)
    z = np.empty(width, x.dtype)
    for i in range(n):
        affine_map(mean[i], invstd[i], weight, bias, scale, shift)
        for r in range(rows):
            row, out = x[i, r], y[i, r]
            for k in range(width):
                z[k] = row[k] * scale[k] + shift[k]
            activate_row(z, kind)
            for k in range(width):
                out[k] = z[k]


def gradient_sums(
    dy: Array,
    x: Array,
    mean: Array,
    invstd: Array,
    weight: Array,
    bias: Array,
    kind: int,
    sums: Array,
) -> None:
    """Write the sums of dy and of dy·(x - mean)·invstd over the pixels to sums, (2, n, c).

    With an activation, dy is first replaced by the gradient of the activation's input.
    """
    n, rows, width = x.shape
    scale, shift = np.empty(width, x.dtype), np.empty(width, x.dtype)
    near, z = np.empty(width, x.dtype), np.empty(width, x.dtype)
    total, product = np.empty(width, x.dtype), np.empty(width, x.dtype)
    zero = x.dtype.type(0)
    for i in range(n):
        affine_map(mean[i], invstd[i], weight, bias, scale, shift)
        tile(mean[i], near)
        total.fill(0)
        product.fill(0)
        for r in range(rows):
            row, slope = x[i, r], dy[i, r]
            if kind == RELU:  # the most common activation, in one pass
                for k in range(width):
                    slope[k] = slope[k] if row[k] * scale[k] + shift[k] > zero else zero
                    total[k] += slope[k]
                    product[k] += slope[k] * (row[k] - near[k])
                continue
            if kind != NONE:
                for k in range(width):
                    z[k] = row[k] * scale[k] + shift[k]
                activate_row_backward(slope, z, kind)
            for k in range(width):
                total[k] += slope[k]
                product[k] += slope[k] * (row[k] - near[k])
        fold(total, sums[0, i])
        fold(product, sums[1, i])
        for k in range(mean.shape[1]):
            # The mean that was subtracted is rounded to x's dtype.
            sums[1, i, k] += (near[k] - mean[i, k]) * sums[0, i, k]
            sums[1, i, k] *= invstd[i, k]


def normalize_backward(
    dy: Array,
    x: Array,
    mean: Array,
    invstd: Array,
    weight: Array,
    mean_dy: Array,
    mean_dy_xhat: Array,
) -> None:
    """Write weight·invstd·dy - invstd·(mean_dy + (x - mean)·invstd·mean_dy_xhat) over dy."""
    n, rows, width = x.shape
    c = mean.shape[1]
    a, b, shift = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    work = np.empty(c, np.float64)
    for i in range(n):
        for k in range(c):
            work[k] = weight[k] * invstd[i, k]
        tile(work, a)
        for k in range(c):
            work[k] = -invstd[i, k] * invstd[i, k] * mean_dy_xhat[i, k]
        tile(work, b)
        for k in range(c):
            work[k] = -invstd[i, k] * mean_dy[i, k] - work[k] * mean[i, k]
        tile(work, shift)
        for r in range(rows):
            row, slope = x[i, r], dy[i, r]
            for k in range(width):
                slope[k] = slope[k] * a[k] + (row[k] * b[k] + shift[k])


def affine_map(
    mean: Array, invstd: Array, weight: Array, bias: Array, scale: Array, shift: Array
) -> None:
    """Write normalization as scale·x + shift, for a row; the other arguments are (c,)."""
    c = mean.size
    for first in range(0, scale.size, c):
        for k in range(c):
            factor = weight[k] * invstd[k]
            scale[first + k] = factor
            shift[first + k] = bias[k] - mean[k] * factor


def tile(coefficients: Array, row: Array) -> None:
    """Repeat the (c,) coefficients along a row."""
    c = coefficients.size
    for first in range(0, row.size, c):
        for k in range(c):
            row[first + k] = coefficients[k]


def fold(row: Array, sums: Array) -> None:
    """Write the sum over a row's pixels to sums, (c,)."""
    c = sums.size
    sums.fill(0)
    for first in range(0, row.size, c):
        for k in range(c):
            sums[k] += row[first + k]
