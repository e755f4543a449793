"""3×3 convolution of stride 1 by Winograd's minimal filtering F(4×4, 3×3).

Lavin and Gray 2015, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308). A tile
of 4×4 outputs takes 36 products for each pair of channels instead of 144,

    Y = Aᵀ [Σ over channels (G w Gᵀ) ∘ (Bᵀ d B)] A        d: the 6×6 inputs of the tile

and with many tiles the sum over channels becomes 36 matrix products (tiles, c) @ (c, o).

The input gradient is such a convolution too, of dy with the flipped weight. Its windows of dy also
serve the weight gradient: both are derivatives of one sum that is linear in x, weight and dy. For
the weight gradient, x takes the place of the output, so its 4×4 blocks are transformed by A.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.im2col import pad
from cnn_cli.nn.kernels.product import blocks
from cnn_cli.nn.types import Array, Scratch, Shape
from cnn_cli.structs import Struct

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
    """Write Bᵀ d B of the 6×6 windows of x (n, h, w, c) to v (n, rows, columns, 36, c).

    All arguments as in `Transforms`, also below.
    """
    n, rows, columns, _, c = v.shape
    height, width = TILE * rows + 2, TILE * columns + 2
    if min(top, left) < 0 or top + height > x.shape[1] or left + width > x.shape[2]:
        # Windows overlap, so their pixels need less memory than v, which is written last.
        padded = v.reshape(-1)[: n * height * width * c].reshape(n, height, width, c)
        pad(x, (-top, -left), padded)
        x, top, left = padded, 0, 0
    band = spare[: n * rows * WINDOW * width * c].reshape(n, rows, WINDOW, width * c)
    b_t, _, _ = _matrices(x.dtype)
    np.matmul(b_t, _row_windows(x, top, left, WINDOW, band.shape), out=band)
    np.matmul(b_t, _column_windows(band, columns, WINDOW, c), out=_by_row(v))


def block_transform(x: Array, top: int, v: Array, spare: Array) -> None:
    """Write A d Aᵀ of the 4×4 blocks of x (n, h, w, c) to v (n, rows, columns, 36, c)."""
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
    """Write Aᵀ m A of m (n, rows, columns, 36, c) to the 4×4 blocks of y (n, h, w, c); m is
    overwritten.
    """
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
        # m has been read: its memory takes the pixels, until those outside are cropped.
        target = m.reshape(-1)[: n * height * width * c].reshape(n, height, width, c)
    by_tile = target.reshape(n, rows, TILE, columns, TILE, c).transpose(0, 1, 3, 4, 2, 5)
    np.matmul(a_t, band.reshape(n, rows, columns, TILE, WINDOW, c), out=by_tile)
    if not whole:
        inside = y[:, top : top + height]
        np.copyto(inside, target[:, : inside.shape[1], : y.shape[2]])


def narrow_window_transform(x: Array, top: int, left: int, v: Array, spare: Array) -> None:
    """`window_transform` as one product."""
    both, _, _ = _both_ways(x.dtype)
    np.matmul(both, _gather(x, top, left, WINDOW, v, spare), out=_flat(v).reshape(POSITIONS, -1))


def narrow_block_transform(x: Array, top: int, v: Array, spare: Array) -> None:
    """`block_transform` as one product."""
    _, both, _ = _both_ways(x.dtype)
    np.matmul(both, _gather(x, top, 0, TILE, v, spare), out=_flat(v).reshape(POSITIONS, -1))


def narrow_output_transform(m: Array, y: Array, top: int, spare: Array) -> None:
    """`output_transform` as one product."""
    n, rows, columns, _, c = m.shape
    height, width = TILE * rows, TILE * columns
    pixels = spare[: n * height * width * c].reshape(TILE * TILE, -1)
    _, _, both = _both_ways(m.dtype)
    np.matmul(both, _flat(m).reshape(POSITIONS, -1), out=pixels)
    whole = top + height <= y.shape[1] and width == y.shape[2]
    target, first = y, top
    if not whole:
        target, first = _flat(m)[: n * height * width * c].reshape(n, height, width, c), 0
    places = _tile_pixels(target, first, 0, TILE, (n, rows, columns))
    np.copyto(places, pixels.view(places.dtype).reshape(places.shape))
    if not whole:
        inside = y[:, top : top + height]
        np.copyto(inside, target[:, : inside.shape[1], : y.shape[2]])


def _gather(x: Array, top: int, left: int, size: int, v: Array, spare: Array) -> Array:
    """Copy the pixels of windows, from (top, left) on, to spare: (size², n·rows·columns·c)."""
    n, rows, columns, _, c = v.shape
    height, width = TILE * (rows - 1) + size, TILE * (columns - 1) + size
    if min(top, left) < 0 or top + height > x.shape[1] or left + width > x.shape[2]:
        # As in `window_transform`, v is written last.
        padded = _flat(v)[: n * height * width * c].reshape(n, height, width, c)
        pad(x, (-top, -left), padded)
        x, top, left = padded, 0, 0
    pixels = spare[: size**2 * n * rows * columns * c].reshape(size**2, -1)
    places = _tile_pixels(x, top, left, size, (n, rows, columns))
    np.copyto(pixels.view(places.dtype).reshape(places.shape), places)
    return pixels


def _tile_pixels(x: Array, top: int, left: int, size: int, tiles: Shape) -> Array:
    """View x (n, h, w, c) as (column, row, *tiles) of windows' pixels, each one opaque element."""
    by_image, by_row, by_column, by_channel = x.strides
    return np.ndarray(
        (size, size, *tiles),
        np.dtype((np.void, x.shape[3] * by_channel)),
        buffer=x.data,
        offset=top * by_row + left * by_column,
        strides=(by_column, by_row, by_image, TILE * by_row, TILE * by_column),
    )


def _flat(v: Array) -> Array:
    """View tiles that lie position by position as a vector."""
    return v.transpose(3, 0, 1, 2, 4).reshape(-1)


@cache
def _both_ways(dtype: np.dtype[np.generic]) -> tuple[Array, Array, Array]:
    """Return the matrices of `_matrices` for rows and columns at once."""
    b_t, a, a_t = (np.kron(each, each).astype(dtype) for each in (B_T, A_T.T, A_T))
    return b_t, a, a_t


def _by_row(v: Array) -> Array:
    """View (n, rows, columns, 36, c) as (n, rows, columns, row, column, c) of the 6×6."""
    return v.reshape(*v.shape[:3], WINDOW, WINDOW, v.shape[4]).swapaxes(3, 4)


def _row_windows(x: Array, top: int, left: int, tall: int, bands: Shape) -> Array:
    """View (n, h, w, c) as (n, rows, tall, width * c), every fourth row from (top, left) on.

    `bands` gives the other sizes, and its own third one.
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
    """View (n, rows, 6, width * c) as (n, rows, columns, 6, wide, c), every fourth column."""
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
    """Return Bᵀ, A and Aᵀ, all contiguous: products with transposed matrices take twice as long."""
    return B_T.astype(dtype), np.ascontiguousarray(A_T.T, dtype), A_T.astype(dtype)


BLOCK_BYTES = 9 << 17
"""Bytes for the transformed tiles of a block: more do not fit the cache, fewer cost calls."""

NARROW = 32
"""Channels up to which NumPy transforms rows and columns in one product. It has three times as many
operations, but OpenBLAS is slow at products of 6×6 and a few columns.
"""

BLOCK_TILES = 64
"""The least number of tiles: with many channels, fewer do not justify reading the weights."""

BIAS_POSITION = 7
"""Position (1, 1): A adds its product, times 1, to every output of the tile."""

G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24


class Transforms(Struct):
    """How a block of tiles is transformed: in NumPy, or by compiled loops (`loops.winograd`).

    Transformed tiles, v and m, are (n, rows, columns, 36, c), with the 6×6 positions of a tile
    stored column by column; images, x and y, are (n, h, w, c). All are contiguous, but tiles lie in
    memory position by position if `by_position`. `spare` is an uninitialized vector with room for
    n * (rows + 1) * (columns + 1) transformed tiles.

    Attributes:
        windows: (x, top, left, v, spare) writes Bᵀ d B of 6×6 windows, which overlap by two pixels,
            to v. The first one starts at pixel (top, left) of x. Pixels outside are 0.
        blocks: (x, top, v, spare) writes A d Aᵀ of 4×4 blocks, from pixel (top, 0) of x on, to v.
            Pixels outside are 0.
        outputs: (m, y, top, spare) writes Aᵀ m A to 4×4 blocks of y, from pixel (top, 0) on,
            without pixels outside; it may overwrite m.
    """

    windows: Callable[[Array, int, int, Array, Array], None]
    blocks: Callable[[Array, int, Array, Array], None]
    outputs: Callable[[Array, Array, int, Array], None]
    by_position: bool = False


NUMPY = Transforms(window_transform, block_transform, output_transform)
NUMPY_NARROW = Transforms(
    narrow_window_transform, narrow_block_transform, narrow_output_transform, by_position=True
)


def numpy_transforms(geometry: Geometry) -> Transforms:
    """Return the fastest of NumPy's transforms for a convolution."""
    wide = max(geometry.in_shape[2], geometry.out_channels) > NARROW
    return NUMPY if wide else NUMPY_NARROW


def forward(
    x: Array,
    prepared: Array,
    bias: Array | None,
    geometry: Geometry,
    scratch: Scratch,
    y: Array,
    transforms: Transforms,
) -> None:
    """Compute (n, h, w, c) -> (n, oh, ow, o); writes `y`.

    Args:
        x: the images, contiguous.
        prepared: (2, 36, c, o), from `transform_weight`; the first half is read.
        bias: (o,) or None.
        geometry: the sizes: 3×3, stride 1, dilation 1, one group.
        scratch: returns uninitialized memory by name and shape.
        y: contiguous.
        transforms: how tiles are transformed.
    """
    weight = prepared[0]
    for images, rows, (v, m, spare) in _tiles(geometry, x.shape[0], scratch, transforms):
        top, left = geometry.start
        transforms.windows(x[images], TILE * rows.start - top, -left, v, spare)
        _multiply(v, weight, m)
        if bias is not None:
            corner = m[..., BIAS_POSITION, :]
            np.add(corner, bias, out=corner)
        transforms.outputs(m, y[images], TILE * rows.start, spare)


def backward(
    x: Array,
    dy: Array,
    prepared: Array,
    geometry: Geometry,
    scratch: Scratch,
    prepared_grad: Array,
    fresh: bool,
    dx: Array | None,
    transforms: Transforms,
) -> None:
    """Add to `prepared_grad`, or with `fresh` write it; write `dx` if there is one.

    Args:
        x, prepared, geometry, scratch, transforms: as in `forward`; of `prepared`, the second half
            is read.
        dy: (n, oh, ow, o), contiguous.
        prepared_grad: (36, c, o), for `weight_gradient`.
        fresh: `prepared_grad` is uninitialized.
        dx: (n, h, w, c), contiguous, or None.
    """
    _, positions, c, o = prepared.shape
    turned = prepared[1].reshape(positions, o, c)
    back = geometry.transposed()
    top, left = back.start
    for images, rows, (v, m, spare) in _tiles(back, x.shape[0], scratch, transforms):
        first = TILE * rows.start
        transforms.windows(dy[images], first - top, -left, v, spare)
        transforms.blocks(x[images], first, m, spare)
        by_position = _by_position(m).transpose(0, 2, 1)
        if fresh:
            np.matmul(by_position, _by_position(v), out=prepared_grad)
        else:
            product = scratch("product", prepared_grad.shape)
            prepared_grad += np.matmul(by_position, _by_position(v), out=product)
        fresh = False
        if dx is not None:
            _multiply(v, turned, m)
            transforms.outputs(m, dx[images], first, spare)


def transform_weight(weight: Array, out: Array) -> None:
    """Compute G w Gᵀ for `forward`, and that of the flipped weight for `backward`.

    Args:
        weight: (3, 3, c, o), contiguous.
        out: (2, 36, c, o), written; the second half holds (36, o, c).
    """
    _, _, c, o = weight.shape
    taps = out[0].reshape(POSITIONS, o, c)[:9]
    np.copyto(taps, weight.reshape(9, c, o).transpose(0, 2, 1))
    to_tile, to_tile_turned = _weight_matrices(weight.dtype)
    np.matmul(to_tile_turned, taps.reshape(9, -1), out=out[1].reshape(POSITIONS, -1))
    np.matmul(to_tile, weight.reshape(9, -1), out=out[0].reshape(POSITIONS, -1))


def weight_gradient(prepared_grad: Array, dweight: Array) -> None:
    """Compute the adjoint of the second half of `transform_weight`.

    Args:
        prepared_grad: (36, c, o), from `backward`.
        dweight: (3, 3, c, o), contiguous, written.
    """
    _, to_tile_turned = _weight_matrices(dweight.dtype)
    total = prepared_grad.reshape(POSITIONS, -1)
    np.matmul(to_tile_turned.T, total, out=dweight.reshape(9, -1))


def _tiles(
    geometry: Geometry, n: int, scratch: Scratch, transforms: Transforms
) -> Iterator[tuple[slice, slice, tuple[Array, Array, Array]]]:
    """Divide n images into blocks of tiles: yield images, rows of tiles, and memory.

    The memory is v and m of `Transforms`, with the input and the output channels, and the spare
    vector.
    """
    c, o = geometry.in_shape[2], geometry.out_channels
    rows, columns = (ceil_div(size, TILE) for size in geometry.out_size)
    most = max(BLOCK_TILES, BLOCK_BYTES // (POSITIONS * max(c, o) * 4))
    for images, part in blocks(n, rows, most // columns):
        size, tall = images.stop - images.start, part.stop - part.start
        if transforms.by_position:
            v = scratch("tiles in", (POSITIONS, size, tall, columns, c)).transpose(1, 2, 3, 0, 4)
            m = scratch("tiles out", (POSITIONS, size, tall, columns, o)).transpose(1, 2, 3, 0, 4)
        else:
            v = scratch("tiles in", (size, tall, columns, POSITIONS, c))
            m = scratch("tiles out", (size, tall, columns, POSITIONS, o))
        room = size * (tall + 1) * (columns + 1) * POSITIONS * max(c, o)
        yield images, part, (v, m, scratch("spare", (room,)))


def _multiply(v: Array, weight: Array, m: Array) -> None:
    """Sum over channels: v (n, rows, columns, 36, c), weight (36, c, o), m, written."""
    np.matmul(_by_position(v), weight, out=_by_position(m))


def _by_position(tiles: Array) -> Array:
    """View (n, rows, columns, 36, c) as (36, tiles, c)."""
    return tiles.reshape(-1, POSITIONS, tiles.shape[-1]).transpose(1, 0, 2)


@cache
def _weight_matrices(dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Return (36, 9) matrices from the weight's taps to tiles, for the weight and for the flipped
    weight.
    """
    straight = np.einsum("ia, jb -> jiab", G, G).reshape(POSITIONS, 9)
    return straight.astype(dtype), np.ascontiguousarray(straight[:, ::-1], dtype)
