"""Winograd's transforms of tiles, in NumPy: every pass is a product with a matrix of 6 or 4 rows.

Lavin and Gray 2015 (arXiv:1509.09308), F(4×4, 3×3); shapes and arguments are those of
`winograd.Transforms`. Along columns of pixels a product takes whole rows of an image at a time,
which lie one after the other: no tile is copied together. Along rows it takes one row of a tile.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from cnn_cli.nn.kernels.im2col import pad
from cnn_cli.nn.types import Array, Shape

TILE = 4
WINDOW = 6
POSITIONS = WINDOW * WINDOW

B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
A_T = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def window_transform(x: Array, top: int, left: int, v: Array, spare: Array) -> None:
    """Write Bᵀ d B of the 6×6 windows of x to v."""
    n, rows, columns, _, c = v.shape
    height, width = TILE * rows + 2, TILE * columns + 2
    if min(top, left) < 0 or top + height > x.shape[1] or left + width > x.shape[2]:
        # Windows overlap, so that their pixels take less memory than v, which is written last.
        padded = v.reshape(-1)[: n * height * width * c].reshape(n, height, width, c)
        pad(x, (-top, -left), padded)
        x, top, left = padded, 0, 0
    band = spare[: n * rows * WINDOW * width * c].reshape(n, rows, WINDOW, width * c)
    b_t, _, _ = _matrices(x.dtype)
    np.matmul(b_t, _row_windows(x, top, left, WINDOW, band.shape), out=band)
    np.matmul(b_t, _column_windows(band, columns, WINDOW, c), out=_by_row(v))


def block_transform(x: Array, top: int, v: Array, spare: Array) -> None:
    """Write A d Aᵀ of the 4×4 blocks of x to v."""
    n, rows, columns, _, c = v.shape
    height, width = TILE * rows, TILE * columns
    if top + height > x.shape[1] or width > x.shape[2]:
        padded = v.reshape(-1)[: n * height * width * c].reshape(n, height, width, c)
        pad(x, (-top, 0), padded)
        x, top = padded, 0
    band = spare[: n * rows * WINDOW * width * c].reshape(n, rows, WINDOW, width * c)
    _, a, _ = _matrices(x.dtype)
    np.matmul(a, _row_windows(x, top, 0, TILE, band.shape), out=band)
    np.matmul(a, _column_windows(band, columns, TILE, c), out=_by_row(v))


def output_transform(m: Array, y: Array, top: int, spare: Array) -> None:
    """Write Aᵀ m A to the 4×4 blocks of y; m is overwritten."""
    n, rows, columns, _, c = m.shape
    height, width = TILE * rows, TILE * columns
    band = spare[: n * rows * columns * TILE * WINDOW * c]
    by_column = band.reshape(n, rows, columns, TILE, WINDOW * c)
    _, _, a_t = _matrices(m.dtype)
    np.matmul(a_t, m.reshape(n, rows, columns, WINDOW, WINDOW * c), out=by_column)
    whole = top + height <= y.shape[1] and width == y.shape[2]
    if whole:
        target = y[:, top : top + height]
    else:
        # m has been read: its memory takes the pixels, until those outside are cut off.
        target = m.reshape(-1)[: n * height * width * c].reshape(n, height, width, c)
    by_tile = target.reshape(n, rows, TILE, columns, TILE, c).transpose(0, 1, 3, 4, 2, 5)
    np.matmul(a_t, band.reshape(n, rows, columns, TILE, WINDOW, c), out=by_tile)
    if not whole:
        inside = y[:, top : top + height]
        np.copyto(inside, target[:, : inside.shape[1], : y.shape[2]])


def _by_row(v: Array) -> Array:
    """(n, rows, columns, 36, c) as (n, rows, columns, row, column, c) of the 6×6: a view."""
    return v.reshape(*v.shape[:3], WINDOW, WINDOW, v.shape[4]).swapaxes(3, 4)


def _row_windows(x: Array, top: int, left: int, tall: int, bands: Shape) -> Array:
    """(n, h, w, c) as (n, rows, tall, width * c), every fourth row from (top, left) on: a view.

    `bands` has the other sizes, and its own third one.
    """
    n, rows, _, run = bands
    by_image, by_row, by_column, by_channel = x.strides
    return np.ndarray(
        (n, rows, tall, run),
        x.dtype,
        buffer=x.data,
        offset=top * by_row + left * by_column,
        strides=(by_image, TILE * by_row, by_row, by_channel),
    )


def _column_windows(band: Array, columns: int, wide: int, c: int) -> Array:
    """(n, rows, 6, width * c) as (n, rows, columns, 6, wide, c), every fourth column: a view."""
    n, rows, tall, _ = band.shape
    by_image, by_band, by_row, by_channel = band.strides
    by_column = c * by_channel
    return np.ndarray(
        (n, rows, columns, tall, wide, c),
        band.dtype,
        buffer=band.data,
        strides=(by_image, by_band, TILE * by_column, by_row, by_column, by_channel),
    )


@cache
def _matrices(dtype: np.dtype[np.generic]) -> tuple[Array, Array, Array]:
    """Bᵀ, A and Aᵀ, all contiguous: products with a transposed one take twice as long."""
    return B_T.astype(dtype), np.ascontiguousarray(A_T.T, dtype), A_T.astype(dtype)
