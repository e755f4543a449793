"""Resize a part of an image with the loops of `loops.resample`, to the bits of Pillow."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from cnn_cli.nn.kernels.loops import resample as loops
from cnn_cli.nn.types import Array


class Resampling:
    """Resizes parts of images with three bytes per pixel; may be shared by threads.

    Args:
        compiled: compiles a loop.
    """

    def __init__(self, compiled: Callable[[Any], Any]) -> None:
        self._vertically = compiled(loops.resample_vertically)
        self._horizontally = compiled(loops.resample_horizontally)

    def __call__(
        self,
        x: Array,
        box: tuple[int, int, int, int],
        out: Array,
        *,
        mirror: bool,
        rows_first: bool,
    ) -> None:
        """Write a part of an image to `out`, resized as Pillow's BILINEAR resizes a crop.

        Args:
            x: (h, w, 3) bytes, contiguous.
            box: top, left, height and width of the part.
            out: (ho, wo, 3) bytes, contiguous.
            mirror: flip the result horizontally.
            rows_first: resample along the rows before the columns, which rounds differently.
        """
        top, left, rows, columns = box
        height, width, _ = out.shape
        x = np.asarray(x if x.flags.writeable else x.copy()).reshape(x.shape[0], -1)
        y = out.reshape(height, -1)
        down, across = bilinear_weights(rows, height), bilinear_weights(columns, width)
        if rows_first:
            between = np.empty((rows, 3 * width), np.uint8)
            self._horizontally(x, top, 3 * left, columns, *across, int(mirror), between)
            self._vertically(between, 0, 0, *down, y)
        else:
            between = np.empty((height, 3 * columns), np.uint8)
            self._vertically(x, top, 3 * left, *down, between)
            self._horizontally(between, 0, 0, columns, *across, int(mirror), y)


@lru_cache(maxsize=2048)
def bilinear_weights(length: int, size: int) -> tuple[Array, Array]:
    """Return the weights of Pillow's triangular filter for resizing `length` to `size`.

    Returns:
        (size,) the first input of each output, and (size, taps) its weights, both int32.
    """
    scale = length / size
    support = max(1.0, scale)
    center = (np.arange(size) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), length) - first
    places = np.arange(2 * ceil(support) + 1)
    distance = np.abs((places + first[:, None] - center[:, None] + 0.5) * (1.0 / support))
    weight = np.where((places < count[:, None]) & (distance < 1), 1 - distance, 0.0)
    total = np.zeros(size)
    for each in weight.T:  # in Pillow's order, on which the last bit depends
        total = total + each
    whole = (0.5 + weight / total[:, None] * (1 << int(loops.SHIFT))).astype(np.int32)
    # As many taps for each, so that none reaches beyond the end.
    taps = max(2, int(count.max())) if length > 1 else 1
    start = np.minimum(first, length - taps)
    weights = np.zeros((size, taps), np.int32)
    for i, (shift, n) in enumerate(zip((first - start).tolist(), count.tolist(), strict=True)):
        weights[i, shift : shift + n] = whole[i, :n]
    return start.astype(np.int32), weights
