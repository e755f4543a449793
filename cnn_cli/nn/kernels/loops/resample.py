"""Bilinear resampling of bytes with antialiasing, to the bits of Pillow's `resize`.

One function resamples each axis; values are rounded to bytes in between. Weights are fixed-point
numbers with `SHIFT` fractional bits. x is (h, w · channels); the last argument is written.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.types import Array

SHIFT = np.int32(22)
HALF = np.int32(1 << 21)
LANES = 4


def resample_vertically(
    x: Array, top: int, left: int, first: Array, weight: Array, y: Array
) -> None:
    """Resample the rows of the part of x that begins at row `top` and byte `left`, into y (ho, w).

    first (ho,) is the first input row of each output row, weight (ho, taps).
    """
    height, width = y.shape
    taps = weight.shape[1]
    total = np.empty(width, np.int32)
    for i in range(height):
        start = top + np.int64(first[i])
        out = y[i]
        a = x[start, left : left + width]
        if taps == 2:
            b = x[start + 1, left : left + width]
            wa, wb = weight[i, 0], weight[i, 1]
            for j in range(width):
                of_a, of_b = np.int32(wa * np.int32(a[j])), np.int32(wb * np.int32(b[j]))
                out[j] = np.uint8(np.int32(np.int32(HALF + of_a) + of_b) >> SHIFT)
        else:
            wa = weight[i, 0]
            for j in range(width):
                total[j] = np.int32(HALF + np.int32(wa * np.int32(a[j])))
            for t in range(1, taps):
                b = x[start + t, left : left + width]
                wb = weight[i, t]
                for j in range(width):
                    total[j] = np.int32(total[j] + np.int32(wb * np.int32(b[j])))
            for j in range(width):
                out[j] = np.uint8(total[j] >> SHIFT)


def resample_horizontally(
    x: Array, top: int, left: int, columns: int, first: Array, weight: Array, mirror: int, y: Array
) -> None:
    """Resample the columns of a part of x into y (ho, wo · 3).

    Pixels are read and written as four bytes, of which the fourth belongs to the next one.

    Args:
        x: (h, w · 3).
        top, left: the first row, and the first byte of a row.
        columns: width of the part in pixels.
        first: (wo,) the first input pixel of each output pixel.
        weight: (wo, taps).
        mirror: 1 to write from right to left, else 0.
        y: written.
    """
    height, wide, taps = y.shape[0], weight.shape[0], weight.shape[1]
    row, made = np.zeros(3 * columns + 1, np.uint8), np.zeros(3 * wide + 1, np.uint8)
    places, weights = np.empty(wide, np.int64), np.empty(taps * wide, np.int32)
    for o in range(wide):
        source = wide - 1 - o if mirror else o
        places[o] = 3 * first[source]
        for t in range(taps):
            weights[taps * o + t] = weight[source, t]
    for i in range(height):
        line, out = x[top + i, left : left + 3 * columns], y[i]
        for j in range(3 * columns):
            row[j] = line[j]
        for o in range(wide):
            if taps == 2:
                sum_two(row, weights, (places[o], 2 * o, 3 * o), made)
            elif taps == 3:
                sum_three(row, weights, (places[o], 3 * o, 3 * o), made)
            else:
                sum_pixels(row, weights, (places[o], taps * o, 3 * o, taps), made)
        for j in range(3 * wide):
            out[j] = made[j]


def sum_pixels(x: Array, weight: Array, place: tuple[int, int, int, int], y: Array) -> None:
    """Write the weighted sum of some pixels, and a fourth byte; all arrays are flat.

    Compiled, the four sums are a vector (`kernels.vector`), which the compiler does not make of
    loops over three bytes.

    Args:
        x: a row of pixels.
        weight: the weights.
        place: of the first pixel in x, of its weight, and in y; the number of pixels.
        y: written.
    """
    source, start, target, taps = place
    for lane in range(LANES):
        total = HALF
        for t in range(taps):
            total = np.int32(total + weight[start + t] * np.int32(x[source + 3 * t + lane]))
        y[target + lane] = np.uint8(total >> SHIFT)


def sum_two(x: Array, weight: Array, place: tuple[int, int, int], y: Array) -> None:
    """`sum_pixels` of two pixels, without a loop when compiled."""
    sum_pixels(x, weight, (*place, 2), y)


def sum_three(x: Array, weight: Array, place: tuple[int, int, int], y: Array) -> None:
    """`sum_pixels` of three pixels, without a loop when compiled."""
    sum_pixels(x, weight, (*place, 3), y)
