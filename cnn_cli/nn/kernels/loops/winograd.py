"""Winograd's transforms as loops, against which the matrix products of `kernels.winograd` are
tested.

Lavin and Gray 2015 (arXiv:1509.09308); shapes and arguments as in `kernels.winograd.Transforms`. A
transform handles a row of tiles at a time: one pass along the columns of pixels and one along the
rows; between them `spare` holds a band of 6 values for every column and channel. A tile's positions
are stored column by column, so that the pass along rows covers 6 * c contiguous values.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.types import Array

G = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)


def window_transform(x: Array, top: int, left: int, v: Array, spare: Array) -> None:
    """Write Bᵀ d B of the 6×6 windows of x to v."""
    n, rows, columns, _, c = v.shape
    _, h, w, _ = x.shape
    width = 4 * columns + 2
    tiles = v.reshape(n * rows * columns, 6, 6 * c)
    band = spare[: width * 6 * c].reshape(width, 6, c)
    edge = spare[width * 6 * c : (width + w) * 6 * c].reshape(1, 6, w, c)
    for image in range(n):
        for row in range(rows):
            first = top + 4 * row
            if first >= 0 and first + 6 <= h:
                _window_columns(x, image, first, left, band)
            else:
                _copy_rows(x, image, first, edge)
                _window_columns(edge, 0, 0, left, band)
            start = (image * rows + row) * columns
            _window_rows(band.reshape(width, 6 * c), start, tiles)


def block_transform(x: Array, top: int, v: Array, spare: Array) -> None:
    """Write A d Aᵀ of the 4×4 blocks of x to v."""
    n, rows, columns, _, c = v.shape
    _, h, w, _ = x.shape
    width = 4 * columns
    tiles = v.reshape(n * rows * columns, 6, 6 * c)
    band = spare[: width * 6 * c].reshape(width, 6, c)
    edge = spare[width * 6 * c : (6 * width + 4 * w) * c].reshape(1, 4, w, c)
    for image in range(n):
        for row in range(rows):
            first = top + 4 * row
            if first + 4 <= h:
                _block_columns(x, image, first, band)
            else:
                _copy_rows(x, image, first, edge)
                _block_columns(edge, 0, 0, band)
            start = (image * rows + row) * columns
            _block_rows(band.reshape(width, 6 * c), start, tiles)


def output_transform(m: Array, y: Array, top: int, spare: Array) -> None:
    """Write Aᵀ m A to the 4×4 blocks of y."""
    n, rows, columns, _, c = m.shape
    _, h, w, _ = y.shape
    width = 4 * columns
    tiles = m.reshape(n * rows * columns, 6, 6 * c)
    band = spare[: width * 6 * c].reshape(width, 6, c)
    edge = spare[width * 6 * c : (6 * width + 4 * w) * c].reshape(1, 4, w, c)
    for image in range(n):
        for row in range(rows):
            start = (image * rows + row) * columns
            _output_rows(tiles, start, band.reshape(width, 6 * c))
            first = top + 4 * row
            if first + 4 <= h:
                _output_columns(band, y, image, first)
            else:
                _output_columns(band, edge, 0, 0)
                for i in range(h - first):
                    for q in range(w):
                        for k in range(c):
                            y[image, first + i, q, k] = edge[0, i, q, k]


def transform_weight(weight: Array, out: Array) -> None:
    """`kernels.winograd.transform_weight` by its definition."""
    _, _, c, o = weight.shape
    turned = out[1].reshape(36, o, c)
    for i in range(6):
        for j in range(6):
            for k in range(c):
                for m in range(o):
                    straight = back = weight.dtype.type(0)
                    for a in range(3):
                        for b in range(3):
                            straight += G[i][a] * G[j][b] * weight[a, b, k, m]
                            back += G[i][a] * G[j][b] * weight[2 - a, 2 - b, k, m]
                    out[0, 6 * j + i, k, m] = straight
                    turned[6 * j + i, m, k] = back


def weight_gradient(prepared_grad: Array, dweight: Array) -> None:
    """`kernels.winograd.weight_gradient` by its definition."""
    _, _, c, o = dweight.shape
    for a in range(3):
        for b in range(3):
            for k in range(c):
                for m in range(o):
                    total = dweight.dtype.type(0)
                    for i in range(6):
                        for j in range(6):
                            total += G[i][a] * G[j][b] * prepared_grad[6 * j + i, k, m]
                    dweight[2 - a, 2 - b, k, m] = total


def _copy_rows(x: Array, image: int, first: int, edge: Array) -> None:
    """Copy rows of one image, from `first` on; rows outside are 0."""
    _, rows, w, c = edge.shape
    for i in range(rows):
        row = first + i
        inside = row >= 0 and row < x.shape[1]
        for q in range(w):
            for k in range(c):
                edge[0, i, q, k] = x[image, row, q, k] if inside else 0


def _window_columns(x: Array, image: int, top: int, left: int, band: Array) -> None:
    """Apply Bᵀ along each column of 6 pixels; columns outside are 0."""
    width, _, c = band.shape
    two, four = x.dtype.type(2), x.dtype.type(4)
    # No condition inside the loop, which would prevent vectorization.
    first, end = max(0, -left), min(width, x.shape[2] - left)
    for q in range(first):
        band[q].fill(0)
    for q in range(first, end):
        column = left + q
        for k in range(c):
            d0 = x[image, top, column, k]
            d1 = x[image, top + 1, column, k]
            d2 = x[image, top + 2, column, k]
            d3 = x[image, top + 3, column, k]
            d4 = x[image, top + 4, column, k]
            d5 = x[image, top + 5, column, k]
            even, odd = d4 - four * d2, d3 - four * d1
            even2, odd2 = d4 - d2, two * (d3 - d1)
            band[q, 0, k] = four * (d0 - d2) + even2
            band[q, 1, k] = even + odd
            band[q, 2, k] = even - odd
            band[q, 3, k] = even2 + odd2
            band[q, 4, k] = even2 - odd2
            band[q, 5, k] = four * (d1 - d3) + d5 - d3
    for q in range(max(first, end), width):
        band[q].fill(0)


def _window_rows(band: Array, start: int, tiles: Array) -> None:
    """Apply Bᵀ along each row of 6 values, writing the tiles from `start` on."""
    two, four = band.dtype.type(2), band.dtype.type(4)
    for column in range((band.shape[0] - 2) // 4):
        q, tile = 4 * column, start + column
        for k in range(band.shape[1]):
            d0, d1, d2 = band[q, k], band[q + 1, k], band[q + 2, k]
            d3, d4, d5 = band[q + 3, k], band[q + 4, k], band[q + 5, k]
            even, odd = d4 - four * d2, d3 - four * d1
            even2, odd2 = d4 - d2, two * (d3 - d1)
            tiles[tile, 0, k] = four * (d0 - d2) + even2
            tiles[tile, 1, k] = even + odd
            tiles[tile, 2, k] = even - odd
            tiles[tile, 3, k] = even2 + odd2
            tiles[tile, 4, k] = even2 - odd2
            tiles[tile, 5, k] = four * (d1 - d3) + d5 - d3


def _block_columns(x: Array, image: int, top: int, band: Array) -> None:
    """Apply A along each column of 4 pixels; columns outside are 0."""
    width, _, c = band.shape
    two, four = x.dtype.type(2), x.dtype.type(4)
    inside = min(width, x.shape[2])
    # Numbers from an array: if the compiler knew them, it would check reads and writes of all
    # columns for overlap, find some, and not vectorize.
    for q in np.arange(inside):
        for k in range(c):
            d0 = x[image, top, q, k]
            d1 = x[image, top + 1, q, k]
            d2 = x[image, top + 2, q, k]
            d3 = x[image, top + 3, q, k]
            even, odd = d0 + d2, d1 + d3
            even2, odd2 = d0 + four * d2, two * (d1 + four * d3)
            band[q, 0, k] = d0
            band[q, 1, k] = even + odd
            band[q, 2, k] = even - odd
            band[q, 3, k] = even2 + odd2
            band[q, 4, k] = even2 - odd2
            band[q, 5, k] = d3
    for q in range(inside, width):
        band[q].fill(0)


def _block_rows(band: Array, start: int, tiles: Array) -> None:
    """Apply A along each row of 4 values, writing the tiles from `start` on."""
    two, four = band.dtype.type(2), band.dtype.type(4)
    for column in range(band.shape[0] // 4):
        q, tile = 4 * column, start + column
        for k in range(band.shape[1]):
            d0, d1, d2, d3 = band[q, k], band[q + 1, k], band[q + 2, k], band[q + 3, k]
            even, odd = d0 + d2, d1 + d3
            even2, odd2 = d0 + four * d2, two * (d1 + four * d3)
            tiles[tile, 0, k] = d0
            tiles[tile, 1, k] = even + odd
            tiles[tile, 2, k] = even - odd
            tiles[tile, 3, k] = even2 + odd2
            tiles[tile, 4, k] = even2 - odd2
            tiles[tile, 5, k] = d3


def _output_rows(tiles: Array, start: int, band: Array) -> None:
    """Apply Aᵀ along each row of 6 products, reading the tiles from `start` on."""
    two, four = tiles.dtype.type(2), tiles.dtype.type(4)
    for column in range(band.shape[0] // 4):
        q, tile = 4 * column, start + column
        for k in range(band.shape[1]):
            m1, m2, m3, m4 = (
                tiles[tile, 1, k],
                tiles[tile, 2, k],
                tiles[tile, 3, k],
                tiles[tile, 4, k],
            )
            sum1, sum2 = m1 + m2, m3 + m4
            difference1, difference2 = m1 - m2, two * (m3 - m4)
            band[q, k] = tiles[tile, 0, k] + sum1 + sum2
            band[q + 1, k] = difference1 + difference2
            band[q + 2, k] = sum1 + four * sum2
            band[q + 3, k] = difference1 + four * difference2 + tiles[tile, 5, k]


def _output_columns(band: Array, y: Array, image: int, top: int) -> None:
    """Apply Aᵀ along each column of 6 values, to 4 pixels; columns outside are skipped."""
    _, _, c = band.shape
    two, four = band.dtype.type(2), band.dtype.type(4)
    for q in range(y.shape[2]):
        for k in range(c):
            m1, m2, m3, m4 = band[q, 1, k], band[q, 2, k], band[q, 3, k], band[q, 4, k]
            sum1, sum2 = m1 + m2, m3 + m4
            difference1, difference2 = m1 - m2, two * (m3 - m4)
            y[image, top, q, k] = band[q, 0, k] + sum1 + sum2
            y[image, top + 1, q, k] = difference1 + difference2
            y[image, top + 2, q, k] = sum1 + four * sum2
            y[image, top + 3, q, k] = difference1 + four * difference2 + band[q, 5, k]
