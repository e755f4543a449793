"""3×3 convolution of stride 1 by Winograd's minimal filtering F(4×4, 3×3).

Lavin and Gray 2015, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308). A tile
of 4×4 outputs takes 36 products for each pair of channels instead of 144,

    Y = Aᵀ [Σ over channels (G w Gᵀ) ∘ (Bᵀ d B)] A        d: the 6×6 inputs of the tile

and with many tiles the sum over channels becomes 36 matrix products (tiles, c) @ (c, o).

The input's gradient is such a convolution too, of dy by the weight turned round. Its windows of dy
also serve the weight's gradient: both are derivatives of one sum, linear in x, weight and dy, in
which x now stands where the output was, so that its 4×4 blocks are taken through A.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np

from cnn_cli.nn.kernels.blocks import blocks
from cnn_cli.nn.kernels.geometry import Geometry, Scratch
from cnn_cli.nn.kernels.im2col import pad
from cnn_cli.nn.types import Array

TILE = 4
WINDOW = 6
POSITIONS = WINDOW * WINDOW

BLOCK_BYTES = 9 << 17
"""What the transformed tiles of a block may take: more leaves the cache, less costs calls."""

BLOCK_TILES = 64
"""But so many at least: with many channels, they must be worth reading the weights."""

BIAS_POSITION = 7
"""Position (1, 1): A adds its product, times 1, to every output of the tile."""

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
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
A_T = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


@dataclass(frozen=True, slots=True)
class Transforms:
    """The transforms of a block of tiles: `NUMPY` here, or compiled from `loops.winograd`.

    Transformed tiles, v and m, are (n, rows, columns, 36, c); images, x and y, (n, h, w, c). All
    are contiguous. `spare` is an uninitialized array like the transformed tiles.

    Attributes:
        windows: (x, top, left, v, spare) writes Bᵀ d B of the 6×6 windows, which overlap by two
            pixels, to v. The first one starts at pixel (top, left) of x. Pixels outside are 0.
        blocks: (x, top, v, spare) writes A d Aᵀ of the 4×4 blocks from pixel (top, 0) on to v.
            Pixels outside are 0.
        outputs: (m, y, top, spare) writes Aᵀ m A to the 4×4 blocks of y from pixel (top, 0) on,
            except pixels outside.
    """

    windows: Callable[[Array, int, int, Array, Array], None]
    blocks: Callable[[Array, int, Array, Array], None]
    outputs: Callable[[Array, Array, int, Array], None]


def forward(
    x: Array,
    prepared: Array,
    bias: Array | None,
    geometry: Geometry,
    scratch: Scratch,
    y: Array,
    transforms: Transforms,
) -> None:
    """(n, h, w, c) -> (n, oh, ow, o), writes `y`.

    Args:
        x: the images, contiguous.
        prepared: (2, 36, c, o), of `transform_weight`; the first half is read.
        bias: (o,) or None.
        geometry: the sizes: 3×3, stride 1, dilation 1, one group.
        scratch: gives uninitialized memory by name and shape.
        y: contiguous.
        transforms: how tiles are transformed.
    """
    weight = prepared[0]
    for images, rows, (v, m, spare) in _tiles(geometry, x.shape[0], scratch):
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
    """Adds to `prepared_grad`, or with `fresh` writes it; writes `dx` where there is one.

    Args:
        x, prepared, geometry, scratch, transforms: as in `forward`; of `prepared`, the second half
            is read.
        dy: (n, oh, ow, o), contiguous.
        prepared_grad: (2, 36, c, o), of which the first half is used: of `weight_gradient`.
        fresh: `prepared_grad` holds nothing yet.
        dx: (n, h, w, c), contiguous, or None.
    """
    _, positions, c, o = prepared.shape
    turned = prepared[1].reshape(positions, o, c)
    total = prepared_grad[0]
    back = geometry.transposed()
    top, left = back.start
    for images, rows, (v, m, spare) in _tiles(back, x.shape[0], scratch):
        first = TILE * rows.start
        transforms.windows(dy[images], first - top, -left, v, spare)
        transforms.blocks(x[images], first, m, spare)
        by_position = _by_position(m).transpose(0, 2, 1)
        if fresh:
            np.matmul(by_position, _by_position(v), out=total)
        else:
            total += np.matmul(by_position, _by_position(v), out=scratch("product", total.shape))
        fresh = False
        if dx is not None:
            _multiply(v, turned, m)
            transforms.outputs(m, dx[images], first, spare)


def transform_weight(weight: Array, out: Array) -> None:
    """G w Gᵀ for `forward`, and of the weight turned round for `backward`.

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
    """The adjoint of the second half of `transform_weight`.

    Args:
        prepared_grad: (2, 36, c, o), of `backward`.
        dweight: (3, 3, c, o), contiguous, written.
    """
    _, to_tile_turned = _weight_matrices(dweight.dtype)
    total = prepared_grad[0].reshape(POSITIONS, -1)
    np.matmul(to_tile_turned.T, total, out=dweight.reshape(9, -1))


def window_transform(x: Array, top: int, left: int, v: Array, spare: Array) -> None:
    """`Transforms.windows` as one matrix product a tile."""
    n, rows, columns, _, c = v.shape
    height, width = TILE * rows + 2, TILE * columns + 2
    if min(top, left) < 0 or top + height > x.shape[1] or left + width > x.shape[2]:
        # Windows overlap: the pixels take less memory than v, which is written last.
        padded = v.reshape(-1)[: n * height * width * c].reshape(n, height, width, c)
        pad(x, (-top, -left), padded)
        x, top, left = padded, 0, 0
    by_image, by_row, by_column, by_channel = x.strides
    windows: Array = np.ndarray(
        (n, rows, columns, WINDOW, WINDOW * c),
        x.dtype,
        buffer=x.data,
        offset=top * by_row + left * by_column,
        strides=(by_image, TILE * by_row, TILE * by_column, by_row, by_channel),
    )
    tiles = spare[: v.size]
    np.copyto(tiles.reshape(windows.shape), windows)
    to_tile, _ = _tile_matrices(x.dtype)
    np.matmul(to_tile, tiles.reshape(-1, POSITIONS, c), out=v.reshape(-1, POSITIONS, c))


def block_transform(x: Array, top: int, v: Array, spare: Array) -> None:
    """`Transforms.blocks` as one matrix product a tile."""
    blocks = _blocks(v, spare)
    _, rows, columns, _, c = v.shape
    if x.shape[1] - top < TILE * rows or x.shape[2] < TILE * columns:
        blocks.fill(0)
    for part, pixels in _inside(blocks, x, top):
        np.copyto(part, pixels)
    _, from_tile = _tile_matrices(x.dtype)
    product = v.reshape(-1, POSITIONS, c)
    np.matmul(from_tile.T, blocks.reshape(-1, TILE * TILE, c), out=product)


def output_transform(m: Array, y: Array, top: int, spare: Array) -> None:
    """`Transforms.outputs` as one matrix product a tile."""
    blocks = _blocks(m, spare)
    o = m.shape[-1]
    _, from_tile = _tile_matrices(m.dtype)
    product = blocks.reshape(-1, TILE * TILE, o)
    np.matmul(from_tile, m.reshape(-1, POSITIONS, o), out=product)
    for part, pixels in _inside(blocks, y, top):
        np.copyto(pixels, part)


NUMPY = Transforms(window_transform, block_transform, output_transform)


def _tiles(
    geometry: Geometry, n: int, scratch: Scratch
) -> Iterator[tuple[slice, slice, tuple[Array, Array, Array]]]:
    """Cut n images into blocks of tiles: yield images, rows of tiles, and memory.

    The memory is v and m of `Transforms`, with as many channels as go in and come out, and the
    spare vector.
    """
    c, o = geometry.in_shape[2], geometry.out_channels
    rows, columns = (-(-size // TILE) for size in geometry.out_size)
    most = max(BLOCK_TILES, BLOCK_BYTES // (POSITIONS * max(c, o) * 4))
    for images, part in blocks(n, rows, most // columns):
        size, tall = images.stop - images.start, part.stop - part.start
        v = scratch("tiles in", (size, tall, columns, POSITIONS, c))
        m = scratch("tiles out", (size, tall, columns, POSITIONS, o))
        room = size * (tall + 1) * (columns + 1) * POSITIONS * max(c, o)
        yield images, part, (v, m, scratch("spare", (room,)))


def _multiply(v: Array, weight: Array, m: Array) -> None:
    """Sum over channels: v (n, rows, columns, 36, c), weight (36, c, o), m, written."""
    np.matmul(_by_position(v), weight, out=_by_position(m))


def _by_position(tiles: Array) -> Array:
    """(n, rows, columns, 36, c) as (36, tiles, c): a view."""
    return tiles.reshape(-1, POSITIONS, tiles.shape[-1]).transpose(1, 0, 2)


def _blocks(tiles: Array, spare: Array) -> Array:
    """(n, rows, columns, 4, 4 * c) in `spare`, for as many tiles."""
    n, rows, columns, _, c = tiles.shape
    shape = (n, rows, columns, TILE, TILE * c)
    return spare[: prod(shape)].reshape(shape)


def _inside(blocks: Array, x: Array, top: int) -> Iterator[tuple[Array, Array]]:
    """Yield parts of `blocks` with the pixels of x that they stand for, both views alike.

    One part, or where edges cut blocks off up to four.
    """
    n, rows, columns, _, _ = blocks.shape
    _, h, w, c = x.shape
    for row, tall in _whole_and_cut(min(h - top, TILE * rows)):
        for column, wide in _whole_and_cut(min(w, TILE * columns)):
            part = blocks[:, row, column, :tall, : wide * c]
            upper, leftmost = top + TILE * row.start, TILE * column.start
            lower, end = upper + part.shape[1] * tall, leftmost + part.shape[2] * wide
            pixels = x[:, upper:lower, leftmost:end]
            pixels = pixels.reshape(n, part.shape[1], tall, part.shape[2], wide * c)
            yield part, pixels.transpose(0, 1, 3, 2, 4)


def _whole_and_cut(size: int) -> Iterator[tuple[slice, int]]:
    """Blocks along one axis of so many pixels, and how many pixels of each are inside."""
    whole, cut = divmod(size, TILE)
    if whole:
        yield slice(0, whole), TILE
    if cut:
        yield slice(whole, whole + 1), cut


@cache
def _tile_matrices(dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """(36, 36) from windows to tiles and (16, 36) from tiles to blocks, both axes at once."""
    to_tile = np.einsum("ia, jb -> jiab", B_T, B_T).reshape(POSITIONS, POSITIONS)
    from_tile = np.einsum("ai, bj -> abji", A_T, A_T).reshape(TILE * TILE, POSITIONS)
    return to_tile.astype(dtype), from_tile.astype(dtype)


@cache
def _weight_matrices(dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """(36, 9) from the weight's taps to tiles, and from those of the weight turned round."""
    straight = np.einsum("ia, jb -> jiab", G, G).reshape(POSITIONS, 9)
    return straight.astype(dtype), np.ascontiguousarray(straight[:, ::-1], dtype)
