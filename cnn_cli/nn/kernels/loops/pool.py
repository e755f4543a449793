"""Pooling, one value at a time: what `kernels.pool` is proved against.

x is (n, h, w, c), y (n, ho, wo, c); the last arguments are written. Windows start at
o·stride - padding and are kernel_size long, both pairs of (height, width).
"""

from __future__ import annotations

from math import inf

from cnn_cli.nn.types import Array, Pair


def max_pool(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, y: Array, index: Array
) -> None:
    """Write each window's first largest value to y and its row-major position to index."""
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    images, h, w, channels = x.shape
    _, ho, wo, _ = y.shape
    for n in range(images):
        for oi in range(ho):
            for oj in range(wo):
                for c in range(channels):
                    largest = -inf
                    at = -1
                    for i in range(kh):
                        for j in range(kw):
                            row, column = oi * sh - ph + i, oj * sw - pw + j
                            if 0 <= row < h and 0 <= column < w:
                                value = x[n, row, column, c]
                                if at < 0 or value > largest or value != value:  # noqa: PLR0124 (NaN)
                                    largest = value
                                    at = i * kw + j
                    y[n, oi, oj, c] = largest
                    index[n, oi, oj, c] = at


def max_pool_backward(
    dy: Array, index: Array, kernel_size: Pair, stride: Pair, padding: Pair, dx: Array
) -> None:
    """Write to dx what reaches each value through the windows whose maximum it is."""
    kw, (sh, sw), (ph, pw) = kernel_size[1], stride, padding
    images, ho, wo, channels = dy.shape
    dx[...] = 0
    for n in range(images):
        for oi in range(ho):
            for oj in range(wo):
                for c in range(channels):
                    i, j = divmod(int(index[n, oi, oj, c]), kw)
                    dx[n, oi * sh - ph + i, oj * sw - pw + j, c] += dy[n, oi, oj, c]


def avg_pool(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool, y: Array
) -> None:
    """Write each window's mean to y."""
    images, h, w, channels = x.shape
    _, ho, wo, _ = y.shape
    for oi in range(ho):
        for oj in range(wo):
            top, bottom, rows = _span(oi, h, kernel_size[0], stride[0], padding[0])
            left, right, columns = _span(oj, w, kernel_size[1], stride[1], padding[1])
            if not count_include_pad:
                rows, columns = bottom - top, right - left
            for n in range(images):
                for c in range(channels):
                    total = 0.0
                    for row in range(top, bottom):
                        for column in range(left, right):
                            total += x[n, row, column, c]
                    y[n, oi, oj, c] = total / (rows * columns)


def avg_pool_backward(
    dy: Array, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool, dx: Array
) -> None:
    """Write to dx each window's gradient, shared out among its values."""
    images, h, w, channels = dx.shape
    _, ho, wo, _ = dy.shape
    dx[...] = 0
    for oi in range(ho):
        for oj in range(wo):
            top, bottom, rows = _span(oi, h, kernel_size[0], stride[0], padding[0])
            left, right, columns = _span(oj, w, kernel_size[1], stride[1], padding[1])
            if not count_include_pad:
                rows, columns = bottom - top, right - left
            for n in range(images):
                for c in range(channels):
                    for row in range(top, bottom):
                        for column in range(left, right):
                            dx[n, row, column, c] += dy[n, oi, oj, c] / (rows * columns)


def _span(o: int, size: int, kernel: int, stride: int, padding: int) -> tuple[int, int, int]:
    """First and past-the-last element of a window, and its length with the padding in it."""
    start = o * stride - padding
    end = min(start + kernel, size + padding)
    return max(start, 0), min(end, size), end - start
