"""Pooling, window by window and channel by channel: the loop form of `kernels.pool`.

x and dx are (n, h, w, c), y and dy (n, ho, wo, c); the last arguments are written. Windows start at
o·stride - padding and have length kernel_size; all are pairs (height, width). The functions for 2x2
windows require all windows inside the map.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.loops.activation import RELU
from cnn_cli.nn.types import Array, Pair


def max_pool(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, kind: int, y: Array, index: Array
) -> None:
    """Write the activation of each window's first maximum to y, and its position to index.

    NaN counts as the maximum. Positions are in row-major order. With ReLU, 0 competes in every
    window; if it wins, the position is the number of positions.
    """
    floor = y.dtype.type(0.0 if kind == RELU else -np.inf)
    nowhere = index.dtype.type(kernel_size[0] * kernel_size[1])
    kw = kernel_size[1]
    _, h, w, channels = x.shape
    images, ho, wo, _ = y.shape
    for n in range(images):
        for oi in range(ho):
            top, first_i, end_i = span(oi, h, kernel_size[0], stride[0], padding[0])
            for oj in range(wo):
                left, first_j, end_j = span(oj, w, kw, stride[1], padding[1])
                largest, at = y[n, oi, oj], index[n, oi, oj]
                position = at.dtype.type(first_i * kw + first_j)
                for c in range(channels):
                    largest[c] = floor
                    at[c] = nowhere if kind == RELU else position
                for i in range(first_i, end_i):
                    for j in range(first_j, end_j):
                        pixel = x[n, top + i, left + j]
                        position = at.dtype.type(i * kw + j)
                        for c in range(channels):
                            better = (pixel[c] > largest[c]) | (pixel[c] != pixel[c])
                            largest[c] = pixel[c] if better else largest[c]
                            at[c] = position if better else at[c]


def max_pool_2x2(x: Array, stride: Pair, kind: int, y: Array, index: Array) -> None:
    """`max_pool` for 2x2 windows."""
    images, ho, wo, channels = y.shape
    zero, one, two, three, four = [index.dtype.type(position) for position in range(5)]
    floor = y.dtype.type(0.0 if kind == RELU else -np.inf)
    first = four if kind == RELU else zero
    for n in range(images):
        for oi in range(ho):
            for oj in range(wo):
                i, j = oi * stride[0], oj * stride[1]
                x0, x1, x2, x3 = x[n, i, j], x[n, i, j + 1], x[n, i + 1, j], x[n, i + 1, j + 1]
                out, out_at = y[n, oi, oj], index[n, oi, oj]
                for c in range(channels):
                    largest, at = floor, first
                    better = (x0[c] > largest) | (x0[c] != x0[c])
                    largest, at = (x0[c], zero) if better else (largest, at)
                    better = (x1[c] > largest) | (x1[c] != x1[c])
                    largest, at = (x1[c], one) if better else (largest, at)
                    better = (x2[c] > largest) | (x2[c] != x2[c])
                    largest, at = (x2[c], two) if better else (largest, at)
                    better = (x3[c] > largest) | (x3[c] != x3[c])
                    largest, at = (x3[c], three) if better else (largest, at)
                    out[c] = largest
                    out_at[c] = at


def max_pool_backward(
    dy: Array, index: Array, kernel_size: Pair, stride: Pair, padding: Pair, dx: Array
) -> None:
    """Write to dx the sum of the gradients of all windows of which each element is the maximum."""
    kw = kernel_size[1]
    images, h, w, channels = dx.shape
    _, ho, wo, _ = dy.shape
    zero = dx.dtype.type(0)
    dx.fill(0)
    for n in range(images):
        for oi in range(ho):
            top, first_i, end_i = span(oi, h, kernel_size[0], stride[0], padding[0])
            for oj in range(wo):
                left, first_j, end_j = span(oj, w, kw, stride[1], padding[1])
                slope, at = dy[n, oi, oj], index[n, oi, oj]
                for i in range(first_i, end_i):
                    for j in range(first_j, end_j):
                        pixel = dx[n, top + i, left + j]
                        position = at.dtype.type(i * kw + j)
                        for c in range(channels):
                            pixel[c] += slope[c] if at[c] == position else zero


def max_pool_backward_2x2(dy: Array, index: Array, stride: Pair, dx: Array) -> None:
    """`max_pool_backward` for disjoint 2x2 windows; elements outside all windows are not
    written.
    """
    images, ho, wo, channels = dy.shape
    zero = dx.dtype.type(0)
    for n in range(images):
        for oi in range(ho):
            for oj in range(wo):
                slope, at = dy[n, oi, oj], index[n, oi, oj]
                for i in range(2):
                    for j in range(2):
                        pixel = dx[n, oi * stride[0] + i, oj * stride[1] + j]
                        position = 2 * i + j
                        for c in range(channels):
                            pixel[c] = slope[c] if at[c] == position else zero


def avg_pool(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, areas: Array, y: Array
) -> None:
    """Write each window's sum divided by its area to y; areas is (ho or 1, wo or 1, 1)."""
    _, h, w, channels = x.shape
    images, ho, wo, _ = y.shape
    for n in range(images):
        for oi in range(ho):
            top, first_i, end_i = span(oi, h, kernel_size[0], stride[0], padding[0])
            for oj in range(wo):
                left, first_j, end_j = span(oj, w, kernel_size[1], stride[1], padding[1])
                area = areas[oi % areas.shape[0], oj % areas.shape[1], 0]
                total = y[n, oi, oj]
                total.fill(0)
                for i in range(first_i, end_i):
                    for j in range(first_j, end_j):
                        pixel = x[n, top + i, left + j]
                        for c in range(channels):
                            total[c] += pixel[c]
                for c in range(channels):
                    total[c] /= area


def avg_pool_backward(
    dy: Array, kernel_size: Pair, stride: Pair, padding: Pair, areas: Array, dx: Array
) -> None:
    """Write to dx each window's gradient, distributed over its elements."""
    images, h, w, channels = dx.shape
    _, ho, wo, _ = dy.shape
    one = dx.dtype.type(1)
    dx.fill(0)
    for n in range(images):
        for oi in range(ho):
            top, first_i, end_i = span(oi, h, kernel_size[0], stride[0], padding[0])
            for oj in range(wo):
                left, first_j, end_j = span(oj, w, kernel_size[1], stride[1], padding[1])
                share = one / areas[oi % areas.shape[0], oj % areas.shape[1], 0]
                slope = dy[n, oi, oj]
                for i in range(first_i, end_i):
                    for j in range(first_j, end_j):
                        pixel = dx[n, top + i, left + j]
                        for c in range(channels):
                            pixel[c] += slope[c] * share


def span(o: int, size: int, kernel: int, stride: int, padding: int) -> tuple[int, int, int]:
    """Return a window's start, and the range of its positions inside the map."""
    start = o * stride - padding
    return start, max(0, -start), min(kernel, size - start)
