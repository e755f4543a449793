"""im2col and col2im: convert images to matrices of windows for one matrix product, and back."""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.types import Array, Pair

SHORT_RUN = 32
"""Fewer numbers than this are copied kernel row by kernel row: NumPy's inner loop then runs over
pixels instead of the short rows of the kernel.
"""


def pad(x: Array, start: Pair, out: Array, spread: Pair = (1, 1)) -> None:
    """Pad (n, h, w, c) -> (n, H, W, c) with zeros; writes `out`.

    Args:
        x: the images.
        start: rows of zeros above and columns of zeros to the left; negative numbers crop. The
            shape of `out` determines those below and to the right.
        out: every element is written.
        spread: distance in `out` of adjacent pixels of `x`, [h, w].
    """
    from_rows, rows = tap_slices(start[0], spread[0], x.shape[1], out.shape[1])
    from_columns, columns = tap_slices(start[1], spread[1], x.shape[2], out.shape[2])
    if spread == (1, 1):
        out[:, : rows.start] = 0
        out[:, rows.stop :] = 0
        out[:, rows, : columns.start] = 0
        out[:, rows, columns.stop :] = 0
    else:
        out.fill(0)
    out[:, rows, columns] = x[:, from_rows, from_columns]


def im2col(x: Array, stride: Pair, dilation: Pair, image: int, row: int, out: Array) -> None:
    """Copy windows (N, h, w, c) -> (groups, n, rows, ow, kh, kw, c / groups); writes `out`.

    A pixel's window is one row of the matrix (pixels, kh * kw * c / groups); each group has its own
    matrix.

    Args:
        x: the padded images, contiguous.
        stride, dilation: [h, w].
        image: the first image of `out`.
        row: the first output row of `out`.
        out: contiguous; its shape gives the number of images and rows, and the kernel size.
    """
    groups, n, rows, ow, kh, kw, c = out.shape
    by_image, by_row, by_column, by_channel = x.strides
    shape: tuple[int, ...] = (groups, n, rows, ow, kh, kw)
    strides: tuple[int, ...] = (
        c * by_channel,
        by_image,
        by_row * stride[0],
        by_column * stride[1],
        by_row * dilation[0],
        by_column * dilation[1],
    )
    run = c
    merged = groups == 1 and dilation[1] == 1
    if merged:
        shape, strides, run = shape[:-1], strides[:-1], kw * c
    # NumPy loops faster over elements than over short runs: a run that is contiguous on both sides
    # is copied as one opaque element.
    element = np.dtype((np.void, run * by_channel))
    start = image * by_image + row * stride[0] * by_row
    windows = np.ndarray(shape, element, buffer=x.data, offset=start, strides=strides)
    columns = out.reshape(*shape, run).view(element)[..., 0]
    if merged and run < SHORT_RUN:
        for i in range(shape[-1]):
            np.copyto(columns[..., i], windows[..., i])
    else:
        np.copyto(columns, windows)


def col2im(columns: Array, start: Pair, stride: Pair, dilation: Pair, row: int, out: Array) -> None:
    """Add windows (groups, n, rows, ow, kh, kw, c / groups) -> (n, h, w, c); adds to `out`.

    The adjoint of padding and `im2col`: kh * kw slices are added at the places from which they were
    copied.

    Args:
        columns: gradients of the result of `im2col`.
        start: rows of padding above the images and columns to their left.
        stride, dilation: [h, w].
        row: the first output row of `columns`.
        out: the gradient of the corresponding unpadded images.
    """
    groups, n, rows, ow, kh, kw, c = columns.shape
    _, h, w, _ = out.shape
    grouped = out.reshape(n, h, w, groups, c).transpose(3, 0, 1, 2, 4)
    across = [tap_slices(j * dilation[1] - start[1], stride[1], ow, w) for j in range(kw)]
    for i in range(kh):
        offset = row * stride[0] + i * dilation[0] - start[0]
        from_rows, to_rows = tap_slices(offset, stride[0], rows, h)
        j = 0
        while j < kw:
            from_columns, to_columns = across[j]
            if groups == 1 and _side_by_side(across[j : j + stride[1]], stride[1]):
                # As many adjacent taps as the stride cover a contiguous run of pixels: longer runs
                # add faster.
                run = slice(to_columns.start, to_columns.start + _length(from_columns) * stride[1])
                taps = columns[0, :, from_rows, from_columns, i, j : j + stride[1]]
                values = taps.reshape(*taps.shape[:3], stride[1] * c)
                part = out[:, to_rows, run].reshape(values.shape)
                j += stride[1]
            else:
                values = columns[:, :, from_rows, from_columns, i, j]
                part = grouped[:, :, to_rows, to_columns]
                j += 1
            np.add(part, values, out=part)


def _side_by_side(taps: list[tuple[slice, slice]], count: int) -> bool:
    """Whether `count` taps belong to the same windows and adjacent pixels."""
    windows, pixels = taps[0]
    return 1 < count == len(taps) and all(
        other == windows and target.start == pixels.start + k
        for k, (other, target) in enumerate(taps)
    )


def _length(part: slice) -> int:
    length: int = part.stop - part.start
    return length


def tap_slices(offset: int, stride: int, size: int, bound: int) -> tuple[slice, slice]:
    """Return the positions p in 0..size for which offset + stride * p is in 0..bound, and those
    values.
    """
    first = max(0, -(offset // stride))
    end = max(first, min(size, (bound - 1 - offset) // stride + 1))
    target = max(0, offset + stride * first)
    stop = target + stride * (end - first - 1) + 1
    return slice(first, end), slice(target, max(target, stop), stride)
