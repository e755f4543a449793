"""The forward pass of a convolution without a matrix of windows, with bias and clamp.

Outputs are computed in tiles of `PIXELS` × `CHANNELS` sums. Compiled, the sums stay in registers
from the bias to the clamp (`kernels.vector`), so y is written once. x is (n, h, w, c), y (n, oh,
ow, o) with at least `CHANNELS` output channels. If o is not a multiple of `CHANNELS`, the last tile
starts earlier and writes some channels twice, with the same bits. A tile with fewer pixels computes
its last pixel again.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.paths import CHANNELS
from cnn_cli.nn.types import Array, Pair

PIXELS = 6
"""Pixels of a tile: its sums and their operands fill the 16 registers of AVX2."""

BLOCK = 1 << 18
"""Bytes of x and y that stay in cache while the tiles of all channels are computed."""


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
    """Write min(max(convolution + bias, low), high) to y; a NaN stays NaN.

    Args:
        x: the padded images.
        weight: (panels, kh·kw·c, `CHANNELS`), see `kernels.direct.pack`.
        bias: (o,).
        low, high: bounds of the clamp.
        kernel_rows: kh.
        stride: (h, w).
        dilation: dilation of the kernel's rows; its columns are not dilated.
        pixels: range (start, stop) to compute, of the n·oh·ow pixels of y.
        panels: range (start, stop) of panels to compute.
        y: the output.
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
    """Write min(max(depthwise convolution + bias, low), high) to y; a NaN stays NaN.

    The pixels whose windows have the same taps inside the image form rectangles: an inner one, and
    those along the edges.

    Args:
        x: the images, without padding.
        weight: (kh, kw, 1, c).
        bias: (c,).
        low, high: bounds of the clamp.
        start: rows of zeros above the image and columns of zeros to its left.
        stride, dilation: (h, w).
        lines: range (start, stop) to compute, of the n·oh rows of y.
        y: the output.
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
    """Return the range (start, stop) of i for which start + step·i is in 0..size."""
    first = min(max(0, -(start // step)), count)
    return first, max(first, min(count, (size - 1 - start) // step + 1))


def alike(start: int, stride: int, step: int, count: int, size: int, most: int) -> int:
    """Return how many windows in a row, `stride` apart, have the same taps inside the image."""
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
    """Write one tile of a convolution; all arrays are flat.

    Args:
        x: the images.
        source: offsets in x of the pixels' windows.
        weight, bias: the parameters.
        bounds: the least and the greatest value to write.
        place: index of the tile's first pixel in `source` and `target`, offset of its weights, and
            its first channel.
        steps: rows of a window, the distance between them in x, and the numbers in each.
        target: offsets in y of the pixels.
        y: the output.
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
    """Write one tile of a depthwise convolution; all arrays are flat.

    Args:
        x: the images.
        source: offsets in x of the pixels' windows.
        x_taps: offsets of a window's taps from there.
        weight, bias: the parameters.
        weight_taps: offsets of each tap's weights.
        bounds: the least and the greatest value to write.
        place: index of the tile's first pixel in `source` and `target`, its first channel, and the
            number of taps.
        target: offsets in y of the pixels.
        y: the output.
    """
    first, channel, count = place
    for pixel in range(first, first + PIXELS):
        for lane in range(channel, channel + CHANNELS):
            total = bias[lane]
            for k in range(count):
                total += x[source[pixel] + x_taps[k] + lane] * weight[weight_taps[k] + lane]
            total = bounds[0] if total < bounds[0] else total
            y[target[pixel] + lane] = bounds[1] if total > bounds[1] else total
