"""Padding, windows as matrices and their adjoint, against their definitions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from cnn_cli.nn.kernels.im2col import SHORT_RUN, col2im, im2col, pad, tap_slices
from cnn_cli.nn.types import Array, Pair

CASES = [
    # (h, w, channels, groups), kernel, stride, dilation
    ((5, 6, 2, 1), (3, 3), (1, 1), (1, 1)),
    ((5, 6, 1, 1), (2, 3), (1, 2), (1, 1)),
    ((7, 5, 3, 1), (3, 2), (2, 1), (2, 1)),
    ((6, 7, 3, 1), (2, 2), (1, 1), (1, 3)),
    ((6, 7, 4, 2), (3, 3), (2, 3), (1, 1)),
    ((6, 7, 6, 3), (2, 1), (1, 1), (3, 2)),
    ((7, 7, 2, 1), (1, 1), (4, 3), (1, 1)),
    ((5, 6, SHORT_RUN, 1), (2, 2), (1, 1), (1, 1)),
]


def windows_by_definition(x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """Return (n, h, w, c) -> (n, oh, ow, kh, kw, c), pixel by pixel."""
    n, h, w, c = x.shape
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    oh, ow = (h - dh * (kh - 1) - 1) // sh + 1, (w - dw * (kw - 1) - 1) // sw + 1
    windows = np.empty((n, oh, ow, kh, kw, c))
    for r, q, i, j in product(range(oh), range(ow), range(kh), range(kw)):
        windows[:, r, q, i, j] = x[:, r * sh + i * dh, q * sw + j * dw]
    return windows


@pytest.mark.parametrize("start", [(1, 2), (0, 0), (-1, 1), (-2, -3), (4, 0), (9, 9), (-9, -9)])
@pytest.mark.parametrize("size", [(4, 5), (8, 9), (3, 2)])
def test_pad_puts_images_among_zeros(start: Pair, size: Pair) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 3))
    out = np.full((2, *size, 3), np.nan)
    pad(x, start, out)
    for row, column in product(range(size[0]), range(size[1])):
        r, q = row - start[0], column - start[1]
        inside = 0 <= r < 4 and 0 <= q < 5
        expected = x[:, r, q] if inside else np.zeros((2, 3))
        np.testing.assert_array_equal(out[:, row, column], expected)


@pytest.mark.parametrize("spread", [(2, 3), (1, 2)])
@pytest.mark.parametrize("start", [(1, 2), (-3, 0)])
def test_pad_spreads_pixels(start: Pair, spread: Pair) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 3))
    out = np.full((2, 8, 15, 3), np.nan)
    pad(x, start, out, spread)
    expected = np.zeros_like(out)
    for r, q in product(range(4), range(5)):
        row, column = start[0] + r * spread[0], start[1] + q * spread[1]
        if 0 <= row < 8 and 0 <= column < 15:
            expected[:, row, column] = x[:, r, q]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "kernel", "stride", "dilation"), CASES)
def test_im2col(
    shape: tuple[int, int, int, int], kernel: Pair, stride: Pair, dilation: Pair, dtype: type
) -> None:
    h, w, c, groups = shape
    x: Array = np.random.default_rng(0).standard_normal((3, h, w, c)).astype(dtype)
    expected = windows_by_definition(x, kernel, stride, dilation)
    oh, ow = expected.shape[1:3]
    for image, n, row, rows in [(0, 3, 0, oh), (1, 2, 0, oh), (2, 1, oh - 1, 1)]:
        out: Array = np.full((groups, n, rows, ow, *kernel, c // groups), np.nan, dtype)
        im2col(x, stride, dilation, image, row, out)
        part = expected[image : image + n, row : row + rows]
        for group, columns in enumerate(out):
            channels = slice(group * c // groups, (group + 1) * c // groups)
            np.testing.assert_array_equal(columns, part[..., channels])


@pytest.mark.parametrize("start", [(0, 0), (1, 2), (-1, -1)])
@pytest.mark.parametrize(("shape", "kernel", "stride", "dilation"), CASES)
def test_col2im_is_the_adjoint(
    shape: tuple[int, int, int, int], kernel: Pair, stride: Pair, dilation: Pair, start: Pair
) -> None:
    """<im2col(pad(x)), columns> equals <x, col2im(columns)>, also for some rows of the output."""
    h, w, c, groups = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, h, w, c))
    padded = np.empty((2, h + 2 * max(start[0], 0), w + 2 * max(start[1], 0), c))
    pad(x, start, padded)
    oh, ow = windows_by_definition(padded, kernel, stride, dilation).shape[1:3]
    for row, rows in [(0, oh), (oh - 1, 1)]:
        windows = np.empty((groups, 2, rows, ow, *kernel, c // groups))
        im2col(padded, stride, dilation, 0, row, windows)
        columns = rng.standard_normal(windows.shape)
        before = rng.standard_normal(x.shape)
        dx = before.copy()
        col2im(columns, start, stride, dilation, row, dx)
        assert np.vdot(windows, columns) == pytest.approx(np.vdot(x, dx - before), abs=1e-12)


def test_tap_slices() -> None:
    for offset, stride, size, bound in product(range(-7, 8), range(1, 4), range(5), range(1, 6)):
        positions, values = tap_slices(offset, stride, size, bound)
        inside = [p for p in range(size) if 0 <= offset + stride * p < bound]
        assert list(range(size))[positions] == inside
        assert list(range(bound))[values] == [offset + stride * p for p in inside]
