"""Reflection padding of images, and its gradient."""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels.geometry import Padding
from cnn_cli.nn.types import Array


def reflect(x: Array, padding: Padding, out: Array) -> None:
    """Pad (n, h, w, c) -> (n, H, W, c) by reflection at the edges; writes `out`.

    The outermost pixels are not repeated, so the padding must be smaller than x.
    """
    top, _, left, _ = padding
    h, w = x.shape[1:3]
    np.copyto(out[:, top : top + h, left : left + w], x)
    rows, columns = _mirrors(h, w, padding)
    for place, source in rows:
        np.copyto(out[:, place, left : left + w], out[:, source, left : left + w])
    for place, source in columns:
        np.copyto(out[:, :, place], out[:, :, source])


def fold_reflected(dy: Array, padding: Padding, dx: Array) -> None:
    """Compute the adjoint (n, H, W, c) -> (n, h, w, c); writes `dx`, overwrites dy."""
    top, _, left, _ = padding
    h, w = dx.shape[1:3]
    rows, columns = _mirrors(h, w, padding)
    for place, source in columns:
        np.add(dy[:, :, source], dy[:, :, place], out=dy[:, :, source])
    for place, source in rows:
        np.add(dy[:, source], dy[:, place], out=dy[:, source])
    np.copyto(dx, dy[:, top : top + h, left : left + w])


def _mirrors(h: int, w: int, padding: Padding) -> tuple[list[tuple[int, int]], ...]:
    """Return, for rows and for columns of the padding, pairs of position and source in the padded
    image.
    """
    lines = []
    for size, before, after in ((h, *padding[:2]), (w, *padding[2:])):
        last = before + size - 1
        first = [(before - i, before + i) for i in range(1, before + 1)]
        lines.append(first + [(last + i, last - i) for i in range(1, after + 1)])
    return tuple(lines)
