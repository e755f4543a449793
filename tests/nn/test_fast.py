"""All backends compute the same as NumPy: the loops in plain Python, and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, random_input
from numpy.typing import DTypeLike

from cnn_cli.nn.context import Workspace
from cnn_cli.nn.kernels import conv, winograd
from cnn_cli.nn.kernels.activation import ACTIVATIONS
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.kernels.loops.activation import GELU, HARDSWISH, NONE, RELU, RELU6, SILU
from cnn_cli.nn.kernels.windows import Windows, pooled_size
from cnn_cli.nn.layers import layer_class
from cnn_cli.nn.layers.activation import LeakyReLU
from cnn_cli.nn.layers.avgpool import AvgPool
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.layers.batchnorm import BatchNorm
from cnn_cli.nn.layers.groupnorm import GroupNorm
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.types import Array, Pair, Shape

DTYPES = [np.float32, np.float64]


@pytest.fixture(params=["loops", "fast"])
def kernels(request: pytest.FixtureRequest, backend: Callable[[str], Kernels]) -> Kernels:
    return backend(request.param)


class Scratch:
    """Scratch memory as a layer gets it, filled with NaN."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = dtype
        self.workspace = Workspace()

    def __call__(self, name: str, shape: Shape, dtype: DTypeLike | None = None, /) -> Array:
        array = self.workspace.scratch(name, shape, self.dtype if dtype is None else dtype)
        array.view(np.uint8).fill(0xFF)
        return array


def numbers(seed: int, *shape: int, dtype: DTypeLike = np.float64) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_close(ours: Array, theirs: Array, dtype: DTypeLike, times: float = 1) -> None:
    """Assert equality within a few roundings of the largest number."""
    assert ours.dtype == theirs.dtype
    largest = max(1.0, float(np.abs(theirs).max()))
    limit = times * 16 * float(np.finfo(dtype).eps) * largest
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=limit)


def unary(kernels: Kernels, name: str, x: Array, y: Array, scratch: Scratch) -> None:
    kernels.activate(ACTIVATIONS[name], x, y, scratch, *NUMBERS.get(name, ()))


def unary_backward(kernels: Kernels, name: str, dy: Array, x: Array, scratch: Scratch) -> None:
    kernels.activate_backward(ACTIVATIONS[name], dy, x, scratch, *NUMBERS.get(name, ()))


NUMBERS = {"leaky_relu": (0.2,)}
LOOPED = [kind for kind, function in ACTIVATIONS.items() if function.loop or function.loops]


@pytest.mark.parametrize("size", [(1,), (2, 3, 5), (1024,), (5, 9, 47)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOOPED)
def test_activations(kernels: Kernels, name: str, dtype: Any, size: Shape) -> None:
    scratch = Scratch(dtype)
    x, dy = 4 * numbers(1, *size, dtype=dtype), numbers(2, *size, dtype=dtype)
    y, expected, kept = np.empty_like(x), np.empty_like(x), x.copy()
    unary(kernels, name, x, y, scratch)
    unary(NUMPY, name, x, expected, scratch)
    np.testing.assert_array_equal(x, kept)
    assert_close(y, expected, dtype)
    over = x.copy()
    unary(kernels, name, over, over, scratch)
    np.testing.assert_array_equal(over, y)
    expected_dx = dy.copy()
    unary_backward(kernels, name, dy, x, scratch)
    unary_backward(NUMPY, name, expected_dx, x, scratch)
    assert_close(dy, expected_dx, dtype)


@pytest.mark.parametrize("name", LOOPED)
def test_activations_far_out(kernels: Kernels, name: str) -> None:
    x = np.array([-8e37, -1e4, -60, -20, 20, 60, 1e4, 8e37], np.float32)
    y, slope = np.empty_like(x), np.ones_like(x)
    with np.errstate(all="ignore"):  # plain Python loops warn of overflow
        unary(kernels, name, x, y, Scratch(np.float32))
        unary_backward(kernels, name, slope, x, Scratch(np.float32))
    factor = np.float32(0.2 if name == "leaky_relu" else 0)
    above, rise = (6, 0) if name == "relu6" else (x, 1)
    np.testing.assert_allclose(y, np.where(x > 0, above, factor * x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slope, np.where(x > 0, rise, factor), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LOOPED)
def test_nan_stays(backend: Callable[[str], Kernels], name: str) -> None:
    x = np.zeros(3000, np.float32)
    x[[5, 1023, 2999]] = np.nan
    unary(backend("fast"), name, x, x, Scratch(np.float32))
    assert np.isnan(x).nonzero()[0].tolist() == [5, 1023, 2999]


# Sets, rows, channels: one joined to long rows, odd ones, one wider than a row.
SETS = [(1, 96, 4), (3, 35, 3), (1, 1, 5), (2, 2, 1500), (1, 127, 16), (4, 9, 1)]


@pytest.mark.parametrize("shape", SETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments(kernels: Kernels, dtype: Any, shape: Shape) -> None:
    x = (3 + 2 * numbers(3, *shape)).astype(dtype)
    mean, m2 = kernels.moments(x, Scratch(dtype))
    exact = x.astype(np.float64)
    assert mean.dtype == m2.dtype == np.float64
    assert_close(mean, exact.mean(axis=1), dtype)
    assert_close(m2, exact.var(axis=1) * shape[1], dtype)


@pytest.mark.parametrize("c", [1, 3, 32])
def test_float32_moments_of_values_far_from_0(kernels: Kernels, c: int) -> None:
    x = (1000 + numbers(4, 1, 512, c)).astype(np.float32)
    x[0, 0] = -500  # in the sample, and unlike all else
    mean, m2 = kernels.moments(x, Scratch(np.float32))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=1), rtol=0, atol=2e-5)
    np.testing.assert_allclose(m2 / 512, exact.var(axis=1), rtol=3e-6)


@pytest.mark.parametrize("activation", [NONE, RELU, SILU, GELU, RELU6, HARDSWISH])
@pytest.mark.parametrize("shape", SETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalization(kernels: Kernels, dtype: Any, shape: Shape, activation: int) -> None:
    n, _, c = shape
    scratch = Scratch(dtype)
    x, dy = numbers(5, *shape, dtype=dtype), numbers(6, *shape, dtype=dtype)
    mean, mean_dy, mean_dy_xhat = 0.3 * numbers(7, 3, n, c)
    invstd = 1 + np.random.default_rng(8).random((n, c))
    weight, bias = numbers(9, 2, c, dtype=dtype)
    given = (mean, invstd, weight, bias, activation)

    y, expected, kept = np.empty_like(x), np.empty_like(x), x.copy()
    kernels.normalize(x, *given, y, scratch)
    NUMPY.normalize(x, *given, expected, scratch)
    np.testing.assert_array_equal(x, kept)
    assert_close(y, expected, dtype)
    over = x.copy()
    kernels.normalize(over, *given, over, scratch)
    np.testing.assert_array_equal(over, y)

    expected_dy = dy.copy()
    sums = kernels.gradient_sums(dy, x, *given, scratch)
    expected_sums = NUMPY.gradient_sums(expected_dy, x, *given, scratch)
    assert_close(dy, expected_dy, dtype)
    assert_close(sums, expected_sums, dtype, times=4)

    means = (mean, invstd, weight, mean_dy, mean_dy_xhat)
    kernels.normalize_backward(dy, x, *means, scratch)
    NUMPY.normalize_backward(expected_dy, x, *means, scratch)
    np.testing.assert_array_equal(x, kept)
    assert_close(dy, expected_dy, dtype, times=4)


def test_only_an_activation_changes_the_gradient(kernels: Kernels) -> None:
    x, dy = numbers(5, 1, 6, 4), numbers(6, 1, 6, 4)
    kept = dy.copy()
    ones = np.ones((1, 4))
    kernels.gradient_sums(dy, x, ones, ones, ones[0], ones[0], NONE, Scratch(np.float64))
    np.testing.assert_array_equal(dy, kept)


# in_size, kernel_size, stride, padding, ceil_mode
WINDOWS: list[tuple[Pair, Pair, Pair, Pair, bool]] = [
    ((4, 6), (2, 2), (2, 2), (0, 0), False),
    ((5, 7), (2, 2), (2, 2), (0, 0), False),
    ((5, 7), (2, 2), (2, 2), (0, 0), True),
    ((5, 6), (2, 2), (1, 1), (0, 0), False),
    ((7, 8), (2, 2), (3, 2), (0, 0), False),
    ((5, 5), (2, 2), (2, 2), (1, 1), False),
    ((7, 6), (3, 3), (2, 2), (1, 1), True),
    ((6, 7), (3, 3), (1, 1), (0, 0), False),
    ((8, 5), (3, 3), (1, 3), (1, 0), True),
    ((7, 9), (3, 3), (4, 4), (0, 1), True),
    ((1, 2), (3, 3), (1, 1), (1, 1), False),
    ((6, 7), (2, 3), (3, 4), (0, 1), True),
    ((4, 3), (4, 3), (4, 3), (0, 0), False),
    ((5, 4), (1, 1), (2, 3), (0, 0), False),
]


def windows_of(case: tuple[Pair, Pair, Pair, Pair, bool]) -> Windows:
    in_size, kernel_size, stride, padding, ceil_mode = case
    h, w = (
        pooled_size(size, k, s, (p, p), ceil_mode)
        for size, k, s, p in zip(in_size, kernel_size, stride, padding, strict=True)
    )
    return Windows(in_size, (h, w), kernel_size, stride, padding)


@pytest.mark.parametrize("activation", [NONE, RELU])
@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool(kernels: Kernels, dtype: Any, case: Any, activation: int) -> None:
    windows, scratch = windows_of(case), Scratch(dtype)
    # One decimal, so that windows have ties.
    x = np.round(numbers(10, 2, *windows.in_size, 3), 1).astype(dtype)
    results = []
    for each in (kernels, NUMPY):
        y = np.full((2, *windows.out_size, 3), np.nan, dtype)
        index = np.full(y.shape, 255, np.uint8)
        each.max_pool(x, windows, activation, y, index, scratch)
        unasked = np.empty_like(y)
        each.max_pool(x, windows, activation, unasked, None, scratch)
        np.testing.assert_array_equal(unasked, y)
        dx, dy = np.full_like(x, np.nan), numbers(11, *y.shape, dtype=dtype)
        each.max_pool_backward(dy, index, windows, dx, scratch)
        results.append((y, index, dx))
    ours, theirs = results
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert_close(ours[2], theirs[2], dtype)


@pytest.mark.parametrize("kernel_size", [(2, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize("position", range(3))
def test_max_pool_of_nan_and_infinities(kernels: Kernels, kernel_size: Pair, position: int) -> None:
    windows = Windows(kernel_size, (1, 1), kernel_size, kernel_size, (0, 0))
    x = np.full((1, *kernel_size, 2), -np.inf)
    x[..., 1].reshape(-1)[position] = np.nan
    y, index = np.empty((1, 1, 1, 2)), np.empty((1, 1, 1, 2), np.uint8)
    kernels.max_pool(x, windows, NONE, y, index, Scratch(np.float64))
    assert y[0, 0, 0, 0] == -np.inf
    assert index[0, 0, 0, 0] == 0
    assert np.isnan(y[0, 0, 0, 1])


def test_a_window_of_many_positions(kernels: Kernels) -> None:
    layer = MaxPool((17, 16, 2), kernel_size=(17, 16), stride=(1, 1))
    gradcheck(layer, random_input(layer, 2, seed=1), seed=1, kernels=kernels)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_avg_pool(kernels: Kernels, dtype: Any, case: Any, count_include_pad: bool) -> None:
    windows = windows_of(case)
    areas = windows.areas(count_include_pad)[..., None].astype(dtype)
    x = numbers(12, 2, *windows.in_size, 3, dtype=dtype)
    results = []
    for each in (kernels, NUMPY):
        y = np.full((2, *windows.out_size, 3), np.nan, dtype)
        each.avg_pool(x, windows, areas, y)
        dx, dy = np.full_like(x, np.nan), numbers(13, *y.shape, dtype=dtype)
        each.avg_pool_backward(dy, windows, areas, dx)
        results.append((y, dx))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, dtype)


DEPTHWISE = {
    "padded": Geometry((5, 4, 4), 4, (3, 3), (1, 1), (1, 1, 1, 1), groups=4),
    "cropped": Geometry((6, 7, 2), 2, (2, 3), (1, 1), (-1, 0, 2, -1), groups=2),
    "stride": Geometry((7, 6, 4), 4, (3, 3), (2, 3), (1, 1, 1, 1), groups=4),
    "dilation": Geometry((7, 8, 2), 2, (3, 3), (2, 1), (3, 3, 1, 1), (2, 3), groups=2),
    "far padding": Geometry((3, 4, 2), 2, (2, 2), (1, 1), (4, 4, 5, 5), groups=2),
    "far padding, stride": Geometry((3, 4, 2), 2, (2, 2), (2, 2), (4, 4, 5, 5), groups=2),
    "multiplier": Geometry((5, 4, 3), 6, (3, 3), groups=3),
}


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("case", DEPTHWISE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_depthwise(kernels: Kernels, dtype: Any, case: str, fresh: bool) -> None:
    geometry, scratch = DEPTHWISE[case], Scratch(dtype)
    x = numbers(14, 2, *geometry.in_shape, dtype=dtype)
    weight = numbers(15, *geometry.weight_shape, dtype=dtype)
    dy = numbers(16, 2, *geometry.out_size, geometry.out_channels, dtype=dtype)
    results = []
    for each in (kernels, NUMPY):
        y, dx, dweight = np.full_like(dy, np.nan), np.full_like(x, np.nan), np.ones_like(weight)
        each.depthwise_forward(x, weight, geometry, scratch, y)
        each.depthwise_weight_gradient(x, dy, geometry, scratch, dweight, fresh)
        each.depthwise_input_gradient(dy, weight, geometry, scratch, dx)
        results.append((y, dweight, dx))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, dtype)


@pytest.mark.parametrize(
    ("groups", "start", "stride", "dilation", "row"),
    [
        (1, (1, 1), (2, 2), (1, 1), 0),
        (1, (0, 3), (1, 2), (2, 1), 1),
        (1, (2, 1), (1, 1), (1, 2), 0),
        (3, (1, 1), (1, 1), (1, 1), 2),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_col2im(
    kernels: Kernels, dtype: Any, groups: int, start: Pair, stride: Pair, dilation: Pair, row: int
) -> None:
    columns = numbers(17, groups, 2, 3, 4, 3, 2, 6 // groups, dtype=dtype)
    ours = numbers(18, 2, 6, 7, 6, dtype=dtype)
    theirs = ours.copy()
    kernels.col2im(columns, start, stride, dilation, row, ours)
    NUMPY.col2im(columns, start, stride, dilation, row, theirs)
    assert_close(ours, theirs, dtype)


@pytest.mark.parametrize(
    ("shape", "out_channels", "padding"),
    [
        ((8, 8, 3), 5, (1, 1, 1, 1)),
        ((9, 7, 2), 2, (0, 0, 0, 0)),
        ((5, 6, 16), 4, (2, 1, 0, 2)),
        ((1, 3, 2), 3, (1, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_winograd(
    kernels: Kernels, dtype: Any, shape: Shape, out_channels: int, padding: Any
) -> None:
    geometry, scratch = Geometry(shape, out_channels, (3, 3), (1, 1), padding), Scratch(dtype)
    x = numbers(19, 2, *shape, dtype=dtype)
    weight = numbers(20, *geometry.weight_shape, dtype=dtype)
    dy = numbers(21, 2, *geometry.out_size, out_channels, dtype=dtype)
    prepared = np.empty((2, 36, shape[2], out_channels), dtype)
    winograd.transform_weight(weight, prepared)
    results = []
    for each in (kernels, NUMPY):
        y, dx, grad = np.full_like(dy, np.nan), np.full_like(x, np.nan), np.zeros_like(prepared[0])
        transforms = each.winograd(geometry)
        winograd.forward(x, prepared, None, geometry, scratch, y, transforms)
        winograd.backward(x, dy, prepared, geometry, scratch, grad, True, dx, transforms)
        results.append((y, dx, grad))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, dtype, times=8)
    direct = np.empty_like(dy)
    conv.forward(x, weight, None, geometry, "im2col", scratch, direct)
    assert_close(results[0][0], direct, dtype, times=64)


def fused(layer: BatchNorm | GroupNorm, activation: int) -> Layer:
    layer.activation = activation
    return layer


@pytest.mark.parametrize("name", ["numpy", "loops", "fast"])
@pytest.mark.parametrize("activation", [NONE, RELU, SILU, GELU, RELU6, HARDSWISH])
def test_gradients_of_normalization(
    backend: Callable[[str], Kernels], name: str, activation: int
) -> None:
    kernels = backend(name)
    for layer in (
        fused(GroupNorm((5, 3, 4), num_groups=2), activation),
        fused(BatchNorm((3, 2, 4)), activation),
    ):
        evaluated = isinstance(layer, BatchNorm)
        x = random_input(layer, 3, seed=2)
        gradcheck(layer, x, seed=2, training=not evaluated, kernels=kernels)


@pytest.mark.parametrize(
    "layer",
    [
        layer_class("relu")((4, 3, 5)),
        LeakyReLU((4, 3, 5), negative_slope=0.2),
        MaxPool((4, 6, 3), kernel_size=(2, 2), stride=(2, 2)),
        MaxPool((5, 6, 3), kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)),
        AvgPool((7, 6, 3), kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)),
    ],
)
def test_gradients(kernels: Kernels, layer: Layer) -> None:
    gradcheck(layer, random_input(layer, 2, seed=3), seed=3, kernels=kernels)
