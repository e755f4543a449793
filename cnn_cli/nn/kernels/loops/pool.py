"""Pooling, window by window and channel by channel: the loop form of `kernels.pool`.

x and dx are (n, h, w, c), y and dy (n, ho, wo, c); the last arguments are written. Windows start at
o·stride - padding and have length kernel_size; all are pairs (height, width). The functions for 2x2
windows require all windows inside the map.
"""

from __future__ import annotations

from typing import Any

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
    nowhere = kernel_size[0] * kernel_size[1]
    kw = kernel_size[1]
    _, h, w, channels = x.shape
    images, ho, wo, _ = y.shape
    # As wide as the values, so that the compiler can compare vectors of them.
    at = np.empty(channels, np.int32)
    for n in range(images):
        for oi in range(ho):
            top, first_i, end_i = span(oi, h, kernel_size[0], stride[0], padding[0])
            for oj in range(wo):
                left, first_j, end_j = span(oj, w, kw, stride[1], padding[1])
                out, out_at = y[n, oi, oj], index[n, oi, oj]
                for c in range(channels):
                    out[c] = floor
                    at[c] = nowhere if kind == RELU else first_i * kw + first_j
                for i in range(first_i, end_i):
                    for j in range(first_j, end_j):
                        pixel, position = x[n, top + i, left + j], np.int32(i * kw + j)
                        for c in range(channels):
                            out[c], at[c] = larger(pixel[c], position, out[c], at[c])
                for c in range(channels):
                    out_at[c] = at[c]


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
                    largest, at = larger(x0[c], zero, floor, first)
                    largest, at = larger(x1[c], one, largest, at)
                    largest, at = larger(x2[c], two, largest, at)
                    largest, at = larger(x3[c], three, largest, at)
                    out[c] = largest
                    out_at[c] = at


def max_pool_3x3(x: Array, stride: Pair, padding: Pair, kind: int, y: Array, index: Array) -> None:
    """`max_pool` for 3x3 windows, which may reach beyond the map.

    The nearest position inside the map stands for one outside: seen again, it changes nothing.
    """
    _, h, w, _ = x.shape
    images, ho, wo, channels = y.shape
    floor = y.dtype.type(0.0 if kind == RELU else -np.inf)
    for n in range(images):
        for oi in range(ho):
            top, first, end = span(oi, h, 3, stride[0], padding[0])
            i0, i1, i2 = first, min(max(1, first), end - 1), end - 1
            r0, r1, r2 = x[n, top + i0], x[n, top + i1], x[n, top + i2]
            for oj in range(wo):
                left, first, end = span(oj, w, 3, stride[1], padding[1])
                j0, j1, j2 = first, min(max(1, first), end - 1), end - 1
                p0, p1, p2 = np.int32(3 * i0 + j0), np.int32(3 * i0 + j1), np.int32(3 * i0 + j2)
                p3, p4, p5 = np.int32(3 * i1 + j0), np.int32(3 * i1 + j1), np.int32(3 * i1 + j2)
                p6, p7, p8 = np.int32(3 * i2 + j0), np.int32(3 * i2 + j1), np.int32(3 * i2 + j2)
                start = np.int32(9) if kind == RELU else p0
                j0, j1, j2 = left + j0, left + j1, left + j2
                x0, x1, x2, x3, x4 = r0[j0], r0[j1], r0[j2], r1[j0], r1[j1]
                x5, x6, x7, x8 = r1[j2], r2[j0], r2[j1], r2[j2]
                out, out_at = y[n, oi, oj], index[n, oi, oj]
                for c in range(channels):
                    largest, at = larger(x0[c], p0, floor, start)
                    largest, at = larger(x1[c], p1, largest, at)
                    largest, at = larger(x2[c], p2, largest, at)
                    largest, at = larger(x3[c], p3, largest, at)
                    largest, at = larger(x4[c], p4, largest, at)
                    largest, at = larger(x5[c], p5, largest, at)
                    largest, at = larger(x6[c], p6, largest, at)
                    largest, at = larger(x7[c], p7, largest, at)
                    largest, at = larger(x8[c], p8, largest, at)
                    out[c] = largest
                    out_at[c] = at


def larger(value: Any, position: Any, largest: Any, at: Any) -> tuple[Any, Any]:
    """Return the larger value and its position: `largest` if they are equal, and NaN if it is."""
    better = (value > largest) | np.isnan(value)
    return (value, position) if better else (largest, at)


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
