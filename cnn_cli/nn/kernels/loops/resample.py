"""Bilinear resampling of bytes with antialiasing, to the bits of Pillow's `resize`.

One function resamples each axis; values are rounded to bytes in between. Weights are fixed-point
numbers with `SHIFT` fractional bits. x is (h, w · channels); the last argument is written.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.types import Array

SHIFT = np.int32(22)
HALF = np.int32(1 << 21)


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

    Pixels of three bytes are copied to words of four, whose bytes the compiler can add as lanes of
    a vector; it does not vectorize steps of three.

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
    end = 3 * (columns - 1)
    words = np.zeros(end + 1, np.uint32)
    sides = np.empty((taps, wide), np.uint32)
    lanes = sides.view(np.uint8)
    made = np.empty(wide, np.uint32)
    made_lanes = made.view(np.uint8)
    total = np.empty(4 * wide, np.int32)
    # Unsigned, so that numba does not check for negative indices.
    places = np.empty((taps, wide), np.uint64)
    weights = np.empty((taps, 4 * wide), np.int32)
    for o in range(wide):
        source = wide - 1 - o if mirror else o
        for t in range(taps):
            places[t, o] = np.uint64(3 * (np.int64(first[source]) + t))
            for lane in range(4):
                weights[t, 4 * o + lane] = weight[source, t]
    for i in range(height):
        join_bytes(x[top + i, left : left + end + 3], words)
        for t in range(taps):
            side, place = sides[t], places[t]
            for o in range(wide):
                side[o] = words[place[o]]
        sum_lanes(lanes, weights, total, made_lanes)
        part_words(made, y[i])


def join_bytes(row: Array, words: Array) -> None:
    """Copy the three bytes that begin at each place of a row to words (places,)."""
    places = len(words)
    red, green, blue = row[:places], row[1 : 1 + places], row[2 : 2 + places]
    for j in range(places):
        lower = np.uint32(np.uint32(red[j]) | np.uint32(np.uint32(green[j]) << np.uint32(8)))
        words[j] = np.uint32(lower | np.uint32(np.uint32(blue[j]) << np.uint32(16)))


def sum_lanes(lanes: Array, weights: Array, total: Array, y: Array) -> None:
    """Write the weighted sums of bytes (taps, n) to y (n,); total is scratch memory."""
    taps, n = lanes.shape
    a, wa = lanes[0], weights[0]
    if taps == 2:
        b, wb = lanes[1], weights[1]
        for j in range(n):
            of_a, of_b = np.int32(wa[j] * np.int32(a[j])), np.int32(wb[j] * np.int32(b[j]))
            y[j] = np.uint8(np.int32(np.int32(HALF + of_a) + of_b) >> SHIFT)
        return
    for j in range(n):
        total[j] = np.int32(HALF + np.int32(wa[j] * np.int32(a[j])))
    for t in range(1, taps):
        b, wb = lanes[t], weights[t]
        for j in range(n):
            total[j] = np.int32(total[j] + np.int32(wb[j] * np.int32(b[j])))
    for j in range(n):
        y[j] = np.uint8(total[j] >> SHIFT)


def part_words(words: Array, y: Array) -> None:
    """Write the three lower bytes of each word to y (3 · words,)."""
    for o in range(len(words)):
        word = words[o]
        y[3 * o] = np.uint8(word & np.uint32(255))
        y[3 * o + 1] = np.uint8(np.uint32(word >> np.uint32(8)) & np.uint32(255))
        y[3 * o + 2] = np.uint8(np.uint32(word >> np.uint32(16)) & np.uint32(255))
