"""Convolution for prediction: no matrix of windows, and the bias and a clamp before y is written.

Outputs are computed in tiles of `PIXELS` × `CHANNELS` sums. Compiled, they stay in registers from
the bias to the clamp (`kernels.vector`), so that y is written once. x is (n, h, w, c), y (n, oh,
ow, o) with at least `CHANNELS` output channels. Where o is no multiple of `CHANNELS`, the last tile
starts earlier and writes some channels twice, with the same bits; a tile with fewer pixels does its
last one again.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.paths import CHANNELS
from cnn_cli.nn.types import Array, Pair

PIXELS = 6
"""Of a tile: its sums and what they are made of fill the 16 registers of AVX2."""

BLOCK = 1 << 18
"""Bytes of x and y that the tiles of all channels go over before the next ones are read."""


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    low: float,
    high: float,
    kernel_rows: int,
    stride: Pair,
    dilation: int,
    pixels: Pair,
    panels: Pair,
    y: Array,
) -> None:
    """Write min(max(convolution + bias, low), high) to y; a NaN stays.

    Args:
        x: the images, padded.
        weight: (panels, kh·kw·c, `CHANNELS`), see `kernels.direct.pack`.
        bias: (o,).
        kernel_rows: kh.
        stride: [h, w].
        dilation: of kernel rows; the taps of one are neighbours.
        pixels: the first and past-the-last to compute, of the n·oh·ow of y.
        panels: the first and past-the-last to compute.
    """
    _, height, width, c = x.shape
    _, oh, ow, o = y.shape
    steps = kernel_rows, dilation * width * c, weight.shape[1] // kernel_rows
    numbers, weights, out = x.reshape(-1), weight.reshape(-1), y.reshape(-1)
    bounds = x.dtype.type(low), x.dtype.type(high)
    block = pixels[1] - pixels[0]
    if weight.size * x.itemsize <= BLOCK:
        a_pixel = (stride[0] * stride[1] * c + o) * x.itemsize
        block = min(block, max(BLOCK // a_pixel, PIXELS))
    source = np.empty(block + PIXELS, np.int64)
    target = np.empty(block + PIXELS, np.int64)
    for first in range(pixels[0], pixels[1], block):
        size = min(block, pixels[1] - first)
        for k in range(size + PIXELS - 1):
            pixel = first + min(k, size - 1)
            line = pixel // ow
            image = line // oh
            row, column = (line - image * oh) * stride[0], (pixel - line * ow) * stride[1]
            source[k] = ((image * height + row) * width + column) * c
            target[k] = pixel * o
        for panel in range(panels[0], panels[1]):
            channel = min(panel * CHANNELS, o - CHANNELS)
            start = panel * weight.shape[1] * CHANNELS
            for k in range(0, size, PIXELS):
                place = k, start, channel
                product_tile(numbers, source, weights, bias, bounds, place, steps, target, out)


def depthwise(
    x: Array,
    weight: Array,
    bias: Array,
    low: float,
    high: float,
    start: Pair,
    stride: Pair,
    dilation: Pair,
    lines: Pair,
    y: Array,
) -> None:
    """Write min(max(depthwise convolution + bias, low), high) to y; a NaN stays.

    Pixels that see the same taps lie in rectangles: the inner ones, and those along the edges.

    Args:
        x: the images, not padded.
        weight: (kh, kw, 1, c).
        bias: (c,).
        start: rows of zeros above the image and columns to its left.
        stride, dilation: [h, w].
        lines: the first and past-the-last to compute, of the n·oh rows of y.
    """
    _, height, width, c = x.shape
    _, oh, ow, _ = y.shape
    kh, kw = weight.shape[0], weight.shape[1]
    numbers, weights, out = x.reshape(-1), weight.reshape(-1), y.reshape(-1)
    bounds = x.dtype.type(low), x.dtype.type(high)
    most = min(oh, max(BLOCK // (stride[0] * width * c * x.itemsize), 1))
    source = np.empty(most * ow + PIXELS, np.int64)
    target = np.empty(most * ow + PIXELS, np.int64)
    x_taps, weight_taps = np.empty(kh * kw, np.int64), np.empty(kh * kw, np.int64)
    line = lines[0]
    while line < lines[1]:
        image, first = line // oh, line % oh
        top = first * stride[0] - start[0]
        first_i, end_i = inside(top, dilation[0], kh, height)
        rows = min(most, oh - first, lines[1] - line)
        rows = alike(top, stride[0], dilation[0], kh, height, rows)
        column = 0
        while column < ow:
            left = column * stride[1] - start[1]
            first_j, end_j = inside(left, dilation[1], kw, width)
            columns = alike(left, stride[1], dilation[1], kw, width, ow - column)
            count = 0
            for i in range(first_i, end_i):
                for j in range(first_j, end_j):
                    x_taps[count] = (i * dilation[0] * width + j * dilation[1]) * c
                    weight_taps[count] = (i * kw + j) * c
                    count += 1
            size = rows * columns
            for k in range(size + PIXELS - 1):
                pixel = min(k, size - 1)
                r, q = pixel // columns, pixel % columns
                corner = (image * height + top + r * stride[0]) * width + left + q * stride[1]
                source[k] = corner * c
                target[k] = ((line + r) * ow + column + q) * c
            for k in range(0, size, PIXELS):
                for panel in range((c + CHANNELS - 1) // CHANNELS):
                    place = k, min(panel * CHANNELS, c - CHANNELS), count
                    channels_tile(
                        numbers,
                        source,
                        x_taps,
                        weights,
                        weight_taps,
                        bias,
                        bounds,
                        place,
                        target,
                        out,
                    )
            column += columns
        line += rows


def inside(start: int, step: int, count: int, size: int) -> Pair:
    """The first and past-the-last of the taps at start + step·i that are in 0..size."""
    first = min(max(0, -(start // step)), count)
    return first, max(first, min(count, (size - 1 - start) // step + 1))


def alike(start: int, stride: int, step: int, count: int, size: int, most: int) -> int:
    """How many windows, each a stride behind the one before, see the same taps as the first."""
    first, end = inside(start, step, count, size)
    number = 1
    while number < most:
        other_first, other_end = inside(start + number * stride, step, count, size)
        if other_first != first or other_end != end:
            break
        number += 1
    return number


def product_tile(
    x: Array,
    source: Array,
    weight: Array,
    bias: Array,
    bounds: tuple[float, float],
    place: tuple[int, int, int],
    steps: tuple[int, int, int],
    target: Array,
    y: Array,
) -> None:
    """Write a tile of y, where each number of x meets a row of weights; all arrays are flat.

    Args:
        source: where the pixels' windows start in x.
        bounds: the least and the most to write.
        place: the tile's first pixel, of `source` and `target`; where its weights start; its first
            channel.
        steps: how many rows a window has, from one to the next in x, and how many numbers each has.
        target: where the pixels start in y.
    """
    first, start, channel = place
    rows, step, run = steps
    for pixel in range(first, first + PIXELS):
        for lane in range(CHANNELS):
            total = bias[channel + lane]
            for i in range(rows):
                for k in range(run):
                    number = x[source[pixel] + i * step + k]
                    total += number * weight[start + (i * run + k) * CHANNELS + lane]
            total = bounds[0] if total < bounds[0] else total
            y[target[pixel] + channel + lane] = bounds[1] if total > bounds[1] else total


def channels_tile(
    x: Array,
    source: Array,
    x_taps: Array,
    weight: Array,
    weight_taps: Array,
    bias: Array,
    bounds: tuple[float, float],
    place: tuple[int, int, int],
    target: Array,
    y: Array,
) -> None:
    """Write a tile of y, where each channel of x meets weights of its own; all arrays are flat.

    Args:
        source: where the pixels' windows start in x.
        x_taps: where a window's taps lie from there.
        weight_taps: where the weights of each lie.
        bounds: the least and the most to write.
        place: the tile's first pixel, of `source` and `target`; its first channel; how many taps.
        target: where the pixels start in y.
    """
    first, channel, count = place
    for pixel in range(first, first + PIXELS):
        for lane in range(channel, channel + CHANNELS):
            total = bias[lane]
            for k in range(count):
                total += x[source[pixel] + x_taps[k] + lane] * weight[weight_taps[k] + lane]
            total = bounds[0] if total < bounds[0] else total
            y[target[pixel] + lane] = bounds[1] if total > bounds[1] else total
