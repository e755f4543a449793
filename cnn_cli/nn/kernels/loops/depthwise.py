"""Depthwise convolution, kernel position by kernel position over rows of pixels.

x and dx are (n, h, w, c), y and dy (n, ho, wo, c), weight and dweight (kh, kw, 1, c). `start` (rows
of zeros above the image and columns to its left), stride and dilation are [h, w].

With stride 1, the pixels of a row that meet a kernel position are contiguous, and one loop covers
them.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.types import Array, Pair


def forward(x: Array, weight: Array, start: Pair, stride: Pair, dilation: Pair, y: Array) -> None:
    """Write the convolution to y."""
    kh, kw, _, c = weight.shape
    images, ho, wo, _ = y.shape
    rows = repeat(weight, wo)
    for n in range(images):
        for oi in range(ho):
            out = y[n, oi]
            out.fill(0)
            for i in range(kh):
                r = oi * stride[0] - start[0] + i * dilation[0]
                if r < 0 or r >= x.shape[1]:
                    continue
                for j in range(kw):
                    offset = j * dilation[1] - start[1]
                    first, end = inside(offset, stride[1], x.shape[2], wo)
                    if stride[1] == 1:
                        pixels = x[n, r].reshape(-1)[(offset + first) * c : (offset + end) * c]
                        weights = rows[i, j].reshape(-1)[first * c : end * c]
                        total = out.reshape(-1)[first * c : end * c]
                        for k in range(total.size):
                            total[k] += pixels[k] * weights[k]
                        continue
                    for q in range(first, end):
                        pixel, total = x[n, r, offset + q * stride[1]], out[q]
                        for k in range(c):
                            total[k] += pixel[k] * weight[i, j, 0, k]


def weight_gradient(
    x: Array, dy: Array, start: Pair, stride: Pair, dilation: Pair, dweight: Array
) -> None:
    """Write the gradient of the weight to dweight."""
    kh, kw, _, c = dweight.shape
    images, ho, wo, _ = dy.shape
    columns = np.zeros((kh, kw, wo, c), x.dtype)
    for n in range(images):
        for oi in range(ho):
            for i in range(kh):
                r = oi * stride[0] - start[0] + i * dilation[0]
                if r < 0 or r >= x.shape[1]:
                    continue
                for j in range(kw):
                    offset = j * dilation[1] - start[1]
                    first, end = inside(offset, stride[1], x.shape[2], wo)
                    if stride[1] == 1:
                        pixels = x[n, r].reshape(-1)[(offset + first) * c : (offset + end) * c]
                        slopes = dy[n, oi].reshape(-1)[first * c : end * c]
                        total = columns[i, j].reshape(-1)[first * c : end * c]
                        for k in range(total.size):
                            total[k] += pixels[k] * slopes[k]
                        continue
                    for q in range(first, end):
                        pixel, total = x[n, r, offset + q * stride[1]], columns[i, j, q]
                        for k in range(c):
                            total[k] += pixel[k] * dy[n, oi, q, k]
    sum_columns(columns, dweight)


def input_gradient(
    dy: Array, weight: Array, start: Pair, stride: Pair, dilation: Pair, dx: Array
) -> None:
    """Write the gradient of the input to dx."""
    kh, kw, _, c = weight.shape
    images, ho, wo, _ = dy.shape
    rows = repeat(weight, wo)
    dx.fill(0)
    for n in range(images):
        for oi in range(ho):
            for i in range(kh):
                r = oi * stride[0] - start[0] + i * dilation[0]
                if r < 0 or r >= dx.shape[1]:
                    continue
                for j in range(kw):
                    offset = j * dilation[1] - start[1]
                    first, end = inside(offset, stride[1], dx.shape[2], wo)
                    if stride[1] == 1:
                        slopes = dy[n, oi].reshape(-1)[first * c : end * c]
                        weights = rows[i, j].reshape(-1)[first * c : end * c]
                        total = dx[n, r].reshape(-1)[(offset + first) * c : (offset + end) * c]
                        for k in range(total.size):
                            total[k] += slopes[k] * weights[k]
                        continue
                    for q in range(first, end):
                        total = dx[n, r, offset + q * stride[1]]
                        for k in range(c):
                            total[k] += dy[n, oi, q, k] * weight[i, j, 0, k]


def repeat(weight: Array, pixels: int) -> Array:
    """Repeat the weight for each pixel of a row: (kh, kw, 1, c) to (kh, kw, pixels, c)."""
    kh, kw, _, c = weight.shape
    rows = np.empty((kh, kw, pixels, c), weight.dtype)
    for i in range(kh):
        for j in range(kw):
            values = weight[i, j, 0]
            for q in range(pixels):
                row = rows[i, j, q]
                for k in range(c):
                    row[k] = values[k]
    return rows


def inside(offset: int, stride: int, size: int, pixels: int) -> tuple[int, int]:
    """Return the range of output pixels q for which offset + stride·q is within a row."""
    first = max(0, -(offset // stride))
    return first, max(first, min(pixels, (size - 1 - offset) // stride + 1))


def sum_columns(columns: Array, dweight: Array) -> None:
    """Sum over the pixels of a row: (kh, kw, pixels, c) to (kh, kw, 1, c)."""
    kh, kw, pixels, c = columns.shape
    dweight.fill(0)
    for i in range(kh):
        for j in range(kw):
            total = dweight[i, j, 0]
            for q in range(pixels):
                column = columns[i, j, q]
                for k in range(c):
                    total[k] += column[k]
