"""Products of tall matrices with a small matrix.

OpenBLAS multiplies small matrices without packing them, nearly twice as fast for few channels: with
27 rows of weights and 16 or 32 columns, speed rose from 106-157 to 190-220 GFLOP/s (AVX-512). So
tall matrices are multiplied in parts that OpenBLAS treats as small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.types import Array, Scratch

Block = tuple[slice, slice]


def blocks(n: int, rows: int, most: int) -> Iterator[Block]:
    """Divide n images of `rows` rows into equal parts of at most `most` rows (at least one).

    Yields the images and the rows of each part: several whole images, or a part of one.
    """
    if most >= rows:
        for images in _even(n, most // rows):
            yield images, slice(0, rows)
    else:
        for image in range(n):
            for part in _even(rows, max(most, 1)):
                yield slice(image, image + 1), part


def _even(size: int, most: int) -> Iterator[slice]:
    parts = ceil_div(size, most)
    for part in range(parts):
        yield slice(part * size // parts, (part + 1) * size // parts)


SMALL_PRODUCT = 1_000_000
"""Multiply-adds up to which OpenBLAS (0.3.17 and later) treats a product as small."""

FEWEST_ROWS = 48
FEWEST_ROWS_TRANSPOSED = 96
"""Shorter parts gain nothing, because products of transposed parts must be added up."""


def multiply(a: Array, b: Array, out: Array) -> None:
    """Compute a (groups, rows, k) @ b (groups, k, m) -> (groups, rows, m); writes `out`."""
    groups, rows, k = a.shape
    part, whole = _parts(rows, k * b.shape[2], FEWEST_ROWS)
    if part == rows:
        np.matmul(a, b, out=out)
        return
    np.matmul(
        a[:, :whole].reshape(groups, -1, part, k),
        b[:, np.newaxis],
        out=out[:, :whole].reshape(groups, -1, part, b.shape[2]),
    )
    if whole < rows:
        np.matmul(a[:, whole:], b, out=out[:, whole:])


def add_transposed(a: Array, b: Array, scratch: Scratch, out: Array, fresh: bool) -> None:
    """Compute aᵀ @ b for a (groups, rows, k), b (groups, rows, m) -> (groups, k, m); adds to `out`.

    With `fresh`, `out` is overwritten.
    """
    groups, rows, k = a.shape
    m = b.shape[2]
    part, whole = _parts(rows, k * m, FEWEST_ROWS_TRANSPOSED)
    if part == rows:
        if fresh:
            np.matmul(a.transpose(0, 2, 1), b, out=out)
        else:
            product = scratch("product", (groups, k, m))
            out += np.matmul(a.transpose(0, 2, 1), b, out=product)
        return
    count = whole // part
    products = scratch("product", (groups, count + 1 + (whole < rows), k, m))
    np.matmul(
        a[:, :whole].reshape(groups, count, part, k).transpose(0, 1, 3, 2),
        b[:, :whole].reshape(groups, count, part, m),
        out=products[:, :count],
    )
    if whole < rows:
        np.matmul(a[:, whole:].transpose(0, 2, 1), b[:, whole:], out=products[:, -1])
    np.copyto(products[:, count], 0 if fresh else out)
    np.add.reduce(products, axis=1, out=out)


def _parts(rows: int, size: int, fewest: int) -> tuple[int, int]:
    """Return the number of rows per part, and how many rows all equal parts cover."""
    most = SMALL_PRODUCT // size
    if most < fewest or most >= rows:
        return rows, rows
    part = ceil_div(rows, ceil_div(rows, most))
    return part, rows // part * part
