"""The compiled loops behind the interface of the kernels."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.kernels.activation import ACTIVATIONS, BY_LOOP, CLAMPS, ActivationFunction
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.kernels.loops import activation, depthwise, direct, im2col, norm, pool, winograd
from cnn_cli.nn.kernels.loops.direct import PIXELS
from cnn_cli.nn.kernels.norm import joined
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.kernels.resample import Resampling
from cnn_cli.nn.kernels.windows import Windows
from cnn_cli.nn.kernels.winograd import Transforms
from cnn_cli.nn.types import Array, Pair, Scratch, Share

_FLOAT32_LOOPS = {function.loop for function in BY_LOOP.values() if function.loop_is_float32}

LEAST_SHARED = 1_000_000
"""Multiply-adds of a layer from which on it pays to wake another thread."""

Loop = TypeVar("Loop", bound=Callable[..., Any])


class Compile(Protocol):
    """Compiles a loop."""

    def __call__(self, loop: Loop, /) -> Loop: ...


def as_it_is(loop: Loop) -> Loop:
    """Return a loop in plain Python: the `Compile` that compiles nothing."""
    return loop


class LoopKernels(Kernels):
    """Kernels made of loops; operations that loops do not speed up or support use NumPy.

    Args:
        compiled: compiles a loop. By default the loops run in plain Python, which is slow; tests
            compare with that.
        note: see `Kernels`.
    """

    name: ClassVar[Backend] = "fast"

    def __init__(self, compiled: Compile = as_it_is, note: str | None = None) -> None:
        super().__init__(note)
        shared = compiled(activation.activate), compiled(activation.activate_backward)
        self._activations = {function.kind: shared for function in BY_LOOP.values()} | {
            kind: (compiled(function.loops[0]), compiled(function.loops[1]))
            for kind, function in ACTIVATIONS.items()
            if function.loops is not None
        }
        self._moments = compiled(norm.moments)
        self._normalize = compiled(norm.normalize)
        self._gradient_sums = compiled(norm.gradient_sums)
        self._normalize_backward = compiled(norm.normalize_backward)
        self._max_pool = compiled(pool.max_pool)
        self._max_pool_2x2 = compiled(pool.max_pool_2x2)
        self._max_pool_3x3 = compiled(pool.max_pool_3x3)
        self._max_pool_backward = compiled(pool.max_pool_backward)
        self._max_pool_backward_2x2 = compiled(pool.max_pool_backward_2x2)
        self._avg_pool = compiled(pool.avg_pool)
        self._avg_pool_backward = compiled(pool.avg_pool_backward)
        self._depthwise_forward = compiled(depthwise.forward)
        self._depthwise_weight_gradient = compiled(depthwise.weight_gradient)
        self._depthwise_input_gradient = compiled(depthwise.input_gradient)
        self._direct_forward = compiled(direct.forward)
        self._direct_depthwise = compiled(direct.depthwise)
        self._col2im = compiled(im2col.col2im)
        self.resample = Resampling(compiled)
        self._winograd = Transforms(
            compiled(winograd.window_transform),
            compiled(winograd.block_transform),
            compiled(winograd.output_transform),
        )

    def winograd(self, geometry: Geometry) -> Transforms:
        return self._winograd

    def activate(
        self, function: ActivationFunction, x: Array, y: Array, scratch: Scratch, *numbers: float
    ) -> None:
        loops = self._activations.get(function.kind)
        if loops is None or not _loops_can(function.loop, x):
            super().activate(function, x, y, scratch, *numbers)
        else:
            loops[0](x.reshape(-1), y.reshape(-1), *(numbers or (function.loop,)))

    def activate_backward(
        self,
        function: ActivationFunction,
        dy: Array,
        saved: Array,
        scratch: Scratch,
        *numbers: float,
    ) -> None:
        loops = self._activations.get(function.kind)
        if loops is None or not _loops_can(function.loop, saved):
            super().activate_backward(function, dy, saved, scratch, *numbers)
        else:
            loops[1](dy.reshape(-1), saved.reshape(-1), *(numbers or (function.loop,)))

    def moments(self, x: Array, scratch: Scratch) -> tuple[Array, Array]:
        mean, m2 = np.empty((2, x.shape[0], x.shape[2]))
        self._moments(joined(x), mean, m2)
        return mean, m2

    def normalize(
        self,
        x: Array,
        mean: Array,
        invstd: Array,
        weight: Array,
        bias: Array,
        activation: int,
        y: Array,
        scratch: Scratch,
    ) -> None:
        if _loops_can(activation, x):
            self._normalize(joined(x), mean, invstd, weight, bias, activation, joined(y))
        else:
            Kernels.normalize(x, mean, invstd, weight, bias, activation, y, scratch)

    def gradient_sums(
        self,
        dy: Array,
        x: Array,
        mean: Array,
        invstd: Array,
        weight: Array,
        bias: Array,
        activation: int,
        scratch: Scratch,
    ) -> Array:
        if not _loops_can(activation, x):
            given = (mean, invstd, weight, bias, activation, scratch)
            return Kernels.gradient_sums(dy, x, *given)
        sums = np.empty((2, *mean.shape))
        self._gradient_sums(joined(dy), joined(x), mean, invstd, weight, bias, activation, sums)
        return sums

    def normalize_backward(
        self,
        dy: Array,
        x: Array,
        mean: Array,
        invstd: Array,
        weight: Array,
        mean_dy: Array,
        mean_dy_xhat: Array,
        scratch: Scratch,
    ) -> None:
        given = (mean, invstd, weight, mean_dy, mean_dy_xhat)
        self._normalize_backward(joined(dy), joined(x), *given)

    def max_pool(
        self,
        x: Array,
        windows: Windows,
        activation: int,
        y: Array,
        index: Array | None,
        scratch: Scratch,
    ) -> None:
        two = windows.kernel_size == (2, 2) and windows.inside
        three = windows.kernel_size == (3, 3)
        # Without positions, NumPy's maximum of slices is up to 18 times as fast as `_max_pool`.
        if windows.dilation != (1, 1) or (index is None and not (two or three)):
            Kernels.max_pool(x, windows, activation, y, index, scratch)
            return
        if index is None:
            index = scratch("index", y.shape, np.min_scalar_type(len(windows.taps)))
        if two:
            self._max_pool_2x2(x, windows.stride, activation, y, index)
        elif three:
            self._max_pool_3x3(x, windows.stride, windows.padding, activation, y, index)
        else:
            self._max_pool(x, *_place(windows), activation, y, index)

    def max_pool_backward(
        self, dy: Array, index: Array, windows: Windows, dx: Array, scratch: Scratch
    ) -> None:
        if windows.dilation != (1, 1):
            Kernels.max_pool_backward(dy, index, windows, dx, scratch)
        elif windows.kernel_size == (2, 2) and windows.inside and windows.disjoint:
            if not windows.tiling:
                dx.fill(0)
            self._max_pool_backward_2x2(dy, index, windows.stride, dx)
        else:
            self._max_pool_backward(dy, index, *_place(windows), dx)

    def avg_pool(self, x: Array, windows: Windows, areas: Array, y: Array) -> None:
        self._avg_pool(x, *_place(windows), areas, y)

    def avg_pool_backward(self, dy: Array, windows: Windows, areas: Array, dx: Array) -> None:
        self._avg_pool_backward(dy, *_place(windows), areas, dx)

    def depthwise_forward(
        self, x: Array, weight: Array, geometry: Geometry, scratch: Scratch, y: Array
    ) -> None:
        if geometry.out_channels == x.shape[3]:
            self._depthwise_forward(x, weight, *_taps(geometry), y)
        else:
            Kernels.depthwise_forward(x, weight, geometry, scratch, y)

    def depthwise_weight_gradient(
        self,
        x: Array,
        dy: Array,
        geometry: Geometry,
        scratch: Scratch,
        dweight: Array,
        fresh: bool,
    ) -> None:
        if geometry.out_channels != x.shape[3]:
            Kernels.depthwise_weight_gradient(x, dy, geometry, scratch, dweight, fresh)
            return
        total = dweight if fresh else scratch("gradient", dweight.shape)
        self._depthwise_weight_gradient(x, dy, *_taps(geometry), total)
        if not fresh:
            dweight += total

    def depthwise_input_gradient(
        self, dy: Array, weight: Array, geometry: Geometry, scratch: Scratch, dx: Array
    ) -> None:
        if geometry.out_channels == dx.shape[3]:
            self._depthwise_input_gradient(dy, weight, *_taps(geometry), dx)
        else:
            Kernels.depthwise_input_gradient(dy, weight, geometry, scratch, dx)

    def direct_forward(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        geometry: Geometry,
        activation: int,
        scratch: Scratch,
        share: Share,
        y: Array,
    ) -> None:
        pixels, panels = prod(y.shape[:3]), len(weight)
        given = x, weight, bias, *CLAMPS[activation], geometry.kernel_size[0], geometry.stride

        def some_pixels(first: int, end: int) -> None:
            part = first * PIXELS, min(end * PIXELS, pixels)
            self._direct_forward(*given, geometry.dilation[0], part, (0, panels), y)

        def some_panels(first: int, end: int) -> None:
            self._direct_forward(*given, geometry.dilation[0], (0, pixels), (first, end), y)

        if pixels * weight.size < LEAST_SHARED:
            some_panels(0, panels)
        elif weight.size > x.size:  # each thread reads a part of what is larger
            share(panels, some_panels)
        else:
            share(ceil_div(pixels, PIXELS), some_pixels)

    def direct_depthwise(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        geometry: Geometry,
        activation: int,
        scratch: Scratch,
        share: Share,
        y: Array,
    ) -> None:
        lines = prod(y.shape[:2])

        def some_lines(first: int, end: int) -> None:
            place = *_taps(geometry), (first, end)
            self._direct_depthwise(x, weight, bias, *CLAMPS[activation], *place, y)

        if y.size * prod(geometry.kernel_size) < LEAST_SHARED:
            some_lines(0, lines)
        else:
            share(lines, some_lines)

    def col2im(
        self, columns: Array, start: Pair, stride: Pair, dilation: Pair, row: int, out: Array
    ) -> None:
        self._col2im(columns, start, stride, dilation, row, out)


def _loops_can(activation: int, x: Array) -> bool:
    """Whether the loops support the activation for x's dtype."""
    return x.dtype == np.float32 or activation not in _FLOAT32_LOOPS


def _place(windows: Windows) -> tuple[Pair, Pair, Pair]:
    return windows.kernel_size, windows.stride, windows.padding


def _taps(geometry: Geometry) -> tuple[Pair, Pair, Pair]:
    return geometry.start, geometry.stride, geometry.dilation
