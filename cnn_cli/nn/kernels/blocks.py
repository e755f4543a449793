"""Cutting a chunk into blocks that fit the cache."""

from __future__ import annotations

from collections.abc import Iterator

from cnn_cli.arithmetic import ceil_div

Block = tuple[slice, slice]


def blocks(n: int, rows: int, most: int) -> Iterator[Block]:
    """Cut n images of so many rows into even parts of at most `most` rows (at least one).

    Yields the images and the rows of each: several whole images, or a part of one.
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
