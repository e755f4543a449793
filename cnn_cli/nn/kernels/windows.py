"""The windows of a pooling layer."""

from __future__ import annotations

from functools import cached_property
from itertools import product

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.types import Array, Pair
from cnn_cli.structs import Struct

Slices = tuple[slice, slice, slice]


class Tap(Struct):
    """One position in the kernel, for all windows at once.

    Attributes:
        source: the elements under it in x (n, h, w, c), `stride` rows and columns apart.
        target: their windows in y (n, ho, wo, c), without windows for which the position lies
            outside the input.
    """

    source: Slices
    target: Slices


class Windows(Struct):
    """Windows of one kernel over a map; pairs are (height, width).

    Attributes:
        in_size, out_size: sizes of the map before and after.
        kernel_size, stride, dilation: as in PyTorch.
        padding: above and to the left.
        padding_end: below and to the right; by default the same.
    """

    in_size: Pair
    out_size: Pair
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)
    padding_end: Pair | None = None

    @property
    def reach(self) -> Pair:
        """Height and width of the dilated kernel."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    @cached_property
    def taps(self) -> tuple[Tap, ...]:
        """The kernel's positions in row-major order."""
        rows, columns = (self._line(axis) for axis in (0, 1))
        whole = slice(None)
        return tuple(
            Tap((whole, row[0], column[0]), (whole, row[1], column[1]))
            for row, column in product(rows, columns)
        )

    @cached_property
    def inside(self) -> bool:
        """Whether no window extends beyond the input."""
        return all(
            p == 0 and (out - 1) * s + k <= size
            for size, out, k, s, p in zip(*self._axes(), strict=True)
        )

    @cached_property
    def disjoint(self) -> bool:
        """Whether no two windows share an element."""
        return all(s >= reach for reach, s in zip(self.reach, self.stride, strict=True))

    @cached_property
    def tiling(self) -> bool:
        """Whether every element of the input is in exactly one window."""
        return self.reach == self.kernel_size == self.stride and all(
            p == 0 and out * k >= size for size, out, k, _, p in zip(*self._axes(), strict=True)
        )

    def areas(self, count_include_pad: bool) -> Array:
        """Return (ho, wo) float64: the divisors of an average.

        With `count_include_pad`, elements of the padding count, but not those beyond it, which
        `ceil_mode` reaches; otherwise only elements of the input count.
        """
        lengths = []
        ends = self.padding if self.padding_end is None else self.padding_end
        for size, out, k, s, p, behind in zip(*self._axes(), ends, strict=True):
            start = np.arange(out) * s - p
            end = np.minimum(start + k, size + behind)
            if not count_include_pad:
                start, end = np.maximum(start, 0), np.minimum(end, size)
            lengths.append((end - start).astype(np.float64))
        return np.outer(*lengths)

    def _axes(self) -> tuple[Pair, Pair, Pair, Pair, Pair]:
        return self.in_size, self.out_size, self.reach, self.stride, self.padding

    def _line(self, axis: int) -> list[tuple[slice, slice]]:
        """Return, along one axis and for each kernel position, pairs of slices (of the input, of
        the output).
        """
        size, out, reach, s, p = (pair[axis] for pair in self._axes())
        slices = []
        for i in range(0, reach, self.dilation[axis]):
            first = max(0, -((i - p) // s))
            end = max(first, min(out, (size - 1 + p - i) // s + 1))
            start = first * s - p + i
            stop = start + (end - first - 1) * s + 1 if end > first else start
            slices.append((slice(start, stop, s), slice(first, end)))
        return slices


def pooled_size(size: int, kernel_size: int, stride: int, padding: Pair, ceil_mode: bool) -> int:
    """Return the number of windows along one axis, as PyTorch counts them; below 1 if none fits.

    With `ceil_mode` the last window may extend beyond the padding, but must start inside the input
    or the padding before it; `padding` is (before, after).
    """
    span = size + sum(padding) - kernel_size
    if not ceil_mode:
        return span // stride + 1
    out = ceil_div(span, stride) + 1
    if (out - 1) * stride >= size + padding[0]:
        out -= 1
    return out
