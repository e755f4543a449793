"""Convolution against its definition in loops, and its gradients against finite differences."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, make_context, random_input, random_params, run_backward, run_layer
from layer_run import prepare

from cnn_cli.nn.kernels import conv as kernels
from cnn_cli.nn.kernels import taps
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.loops import conv as loops
from cnn_cli.nn.kernels.paths import Path, can_take
from cnn_cli.nn.kernels.product import Block
from cnn_cli.nn.layers.base import ShapeError
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.types import Array, Shape

CASES: dict[str, tuple[Shape, dict[str, Any]]] = {
    # name: in_shape, differences from a 3x3 kernel with 4 channels
    "plain": ((5, 6, 3), {}),
    "padded": ((5, 6, 3), {"padding": (1, 1)}),
    "one pixel": ((1, 1, 3), {"padding": (1, 1)}),
    "one channel": ((6, 5, 1), {"padding": (1, 1)}),
    "one channel, stride": ((7, 6, 1), {"stride": (2, 1), "padding": (0, 1)}),
    "to one channel": ((6, 5, 3), {"out_channels": 1, "padding": (1, 1)}),
    "wide": ((4, 5, 12), {"out_channels": 9, "padding": (1, 1)}),
    "even kernel": ((5, 4, 3), {"kernel_size": (2, 2)}),
    "even kernel, padded": ((5, 4, 3), {"kernel_size": (4, 2), "padding": (1, 1)}),
    "flat kernel": ((4, 6, 2), {"kernel_size": (1, 4), "padding": (0, 3)}),
    "tall kernel": ((6, 4, 2), {"kernel_size": (5, 1), "padding": (2, 0)}),
    "whole-image kernel": ((4, 3, 2), {"kernel_size": (4, 3)}),
    "large kernel": ((3, 3, 2), {"kernel_size": (5, 4), "padding": (2, 2)}),
    "more padding than kernel": ((3, 4, 2), {"kernel_size": (2, 2), "padding": (3, 2)}),
    "padding far off": ((3, 4, 2), {"stride": (2, 2), "padding": (5, 6)}),
    "same": ((4, 5, 3), {"padding": "same"}),
    "same, even": ((4, 5, 3), {"kernel_size": (4, 2), "padding": "same"}),
    "same, dilated": ((6, 5, 2), {"kernel_size": (2, 3), "padding": "same", "dilation": (3, 2)}),
    "stride": ((7, 8, 3), {"stride": (2, 2), "padding": (1, 1)}),
    "stride [h, w]": ((7, 8, 3), {"stride": (1, 3)}),
    "stride out of reach": ((6, 8, 2), {"stride": (4, 3)}),
    "stride over kernel": ((9, 8, 2), {"kernel_size": (2, 1), "stride": (4, 3)}),
    "dilation": ((7, 6, 2), {"dilation": (2, 1), "padding": (2, 1)}),
    "dilation, stride": ((9, 8, 2), {"dilation": (2, 3), "stride": (2, 2), "padding": (1, 2)}),
    "pointwise": ((4, 3, 5), {"kernel_size": (1, 1)}),
    "pointwise, groups": ((4, 3, 6), {"kernel_size": (1, 1), "groups": 2}),
    "pointwise, stride": ((5, 4, 3), {"kernel_size": (1, 1), "stride": (2, 3)}),
    "pointwise, padded": ((3, 2, 3), {"kernel_size": (1, 1), "padding": (1, 0)}),
    "groups": ((5, 4, 6), {"groups": 2, "padding": (1, 1)}),
    "groups, stride": ((6, 7, 4), {"groups": 2, "stride": (2, 1), "kernel_size": (2, 3)}),
    "groups, dilation": ((6, 7, 9), {"groups": 3, "out_channels": 6, "dilation": (2, 2)}),
    "groups of one output": ((5, 4, 8), {"groups": 4, "padding": (1, 1)}),
    "depthwise": ((5, 4, 4), {"groups": 4, "padding": (1, 1)}),
    "depthwise, multiplier": ((5, 4, 3), {"groups": 3, "out_channels": 6}),
    "depthwise, stride": ((7, 6, 4), {"groups": 4, "stride": (2, 3), "padding": (1, 1)}),
    "same, strided": ((8, 7, 2), {"padding": "same", "stride": (2, 3)}),
    "same, strided, odd": ((5, 6, 2), {"kernel_size": (5, 5), "padding": "same", "stride": (2, 4)}),
    "same, strided, 1x1": ((5, 6, 2), {"kernel_size": (1, 1), "padding": "same", "stride": (2, 2)}),
    "depthwise, same, strided": ((8, 7, 4), {"groups": 4, "padding": "same", "stride": (2, 3)}),
    "depthwise, same, even": ((4, 5, 4), {"groups": 4, "kernel_size": (2, 4), "padding": "same"}),
    "depthwise, dilation": (
        (7, 8, 2),
        {"groups": 2, "dilation": (2, 3), "stride": (2, 1), "padding": (3, 1)},
    ),
    "four sides": ((4, 5, 3), {"padding": (0, 2, 1, 3), "stride": (2, 1)}),
    "depthwise, four sides": ((4, 5, 4), {"groups": 4, "padding": (2, 0, 0, 1)}),
    "depthwise, flat": ((4, 9, 2), {"groups": 2, "kernel_size": (1, 3), "stride": (5, 4)}),
}


def make(case: str, **more: Any) -> Conv:
    in_shape, arguments = CASES[case]
    return Conv(in_shape, **{"out_channels": 4, "kernel_size": (3, 3), **arguments, **more})


PATHS: tuple[Path, ...] = ("winograd", "im2col", "taps", "pointwise", "depthwise")
BY_PATH = [(case, path) for case in CASES for path in PATHS if can_take(path, make(case).geometry)]


def by_loops(layer: Conv, x: Array, dy: Array, params: Mapping[str, Array]) -> list[Array]:
    """Return [y, dx, dweight] by the definition."""
    geometry = layer.geometry
    place = (geometry.start, geometry.stride, geometry.dilation)
    y = np.zeros((x.shape[0], *layer.out_shape))
    y += params["bias"]
    loops.conv_forward(x, params["weight"], *place, y)
    dx, dweight = np.zeros_like(x), np.zeros_like(params["weight"])
    loops.conv_input_gradient(dy, params["weight"], *place, dx)
    loops.conv_weight_gradient(x, dy, *place, dweight)
    return [y, dx, dweight]


def random_dy(layer: Conv, n: int) -> Array:
    return np.random.default_rng(5).standard_normal((n, *layer.out_shape))


@pytest.fixture(params=["by estimate", "gather", "scatter", "small blocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every path that the kernels may choose by size, for any size."""
    chosen: str = request.param
    if chosen == "small blocks":
        monkeypatch.setattr(kernels, "_blocks", one_row_blocks)
        monkeypatch.setattr(taps, "TAP_BYTES", 1)
    elif chosen == "gather":
        monkeypatch.setattr(kernels, "_gathers", gathers_if_possible)
    elif chosen == "scatter":
        monkeypatch.setattr(kernels, "_gathers", never_gathers)
    return chosen


def gathers_if_possible(geometry: Geometry, n: int) -> bool:
    return geometry.stride == (1, 1)


def never_gathers(geometry: Geometry, n: int) -> bool:
    return False


def one_row_blocks(n: int, oh: int, geometry: Geometry, itemsize: int) -> Iterator[Block]:
    for image in range(n):
        for row in range(oh):
            yield slice(image, image + 1), slice(row, row + 1)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("case", "path"), BY_PATH)
def test_equals_the_loops(case: str, path: Path, n: int) -> None:
    layer = make(case, path=path)
    x, dy = random_input(layer, n, seed=1), random_dy(layer, n)
    y, saved, ctx = run_layer(layer, x, seed=1)
    dx, grads = run_backward(layer, dy, saved, ctx)
    expected = by_loops(layer, x, dy, ctx.node.params)
    for actual, exact in zip([y, dx, grads["weight"]], expected, strict=True):
        assert np.abs(actual - exact).max() <= 1e-12 * max(1, np.abs(exact).max())
    np.testing.assert_allclose(grads["bias"], dy.sum((0, 1, 2)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("case", "path"), BY_PATH)
def test_float32(case: str, path: Path) -> None:
    layer = make(case, path=path)
    x, dy = random_input(layer, 2, seed=2), random_dy(layer, 2)
    y, saved, ctx = run_layer(layer, x, dtype=np.float32, seed=2)
    dx, grads = run_backward(layer, dy.astype(np.float32), saved, ctx)
    exact_params = run_layer(layer, x, seed=2)[2].node.params
    expected = by_loops(layer, x, dy, exact_params)
    for actual, exact in zip([y, dx, grads["weight"]], expected, strict=True):
        assert actual.dtype == np.float32
        assert np.abs(actual - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize(("case", "path"), BY_PATH)
def test_gradients(case: str, path: Path) -> None:
    layer = make(case, path=path)
    gradcheck(layer, random_input(layer, 2, seed=3), seed=3)


def test_a_path_that_the_shape_cannot_take() -> None:
    with pytest.raises(ValueError, match=r"^no path 'winograd' for Geometry"):
        make("stride", path="winograd")


@pytest.mark.parametrize("case", ["padded", "depthwise", "pointwise, groups"])
def test_gradients_of_one_image_without_bias(case: str) -> None:
    layer = make(case, bias=False)
    gradcheck(layer, random_input(layer, 1, seed=4), seed=4)


def test_small_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that exceed the budget are processed in parts, of images or of rows."""
    layer = Conv((6, 5, 3), out_channels=4, kernel_size=(3, 3), padding=(1, 1))
    for budget, parts in [(1 << 20, 1), (14000, 2), (7000, 3), (2200, 3 * 3)]:
        monkeypatch.setattr(kernels, "COLUMN_BYTES", budget)
        blocks = list(kernels._blocks(3, 6, layer.geometry, 8))
        assert len(blocks) == parts
        pixels = np.zeros((3, 6), int)
        for images, rows in blocks:
            pixels[images, rows] += 1
        assert (pixels == 1).all()
        gradcheck(layer, random_input(layer, 3, seed=6), seed=6)


def test_same_with_a_stride_pads_as_tensorflow() -> None:
    """In all (⌈h / s⌉ - 1) s + k - h rows, half of them above, rounded down."""
    layer = Conv((5, 6, 1), out_channels=1, kernel_size=(3, 3), padding="same", stride=(2, 2))
    assert layer.geometry.padding == (1, 1, 0, 1)


def test_same_pads_the_odd_row_and_column_at_the_end() -> None:
    layer = Conv((3, 3, 1), out_channels=1, kernel_size=(2, 2), padding="same", bias=False)
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    y, _, _ = run_layer(layer, x, {"weight": np.ones((2, 2, 1, 1))})
    np.testing.assert_array_equal(y[0, :, :, 0], [[12, 16, 9], [24, 28, 15], [15, 17, 9]])


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 6])
def test_strided_same_gives_the_size_by_the_stride_rounded_up(kernel: int, stride: int) -> None:
    size, strides = (kernel, kernel), (stride, stride)
    for h in range(1, 9):
        layer = Conv((h, 7, 1), out_channels=1, kernel_size=size, stride=strides, padding="same")
        assert layer.out_shape[:2] == (-(-h // stride), -(-7 // stride))


def test_describes_itself() -> None:
    layer = Conv((9, 8, 6), out_channels=4, kernel_size=(3, 2), stride=(2, 1), groups=2)
    weight, bias = layer.params
    assert layer.out_shape == (4, 7, 4)
    assert (weight.name, weight.shape, weight.torch_shape, weight.fan_in) == (
        "weight",
        (3, 2, 3, 4),
        (4, 3, 3, 2),
        18,
    )
    assert (bias.name, bias.shape, bias.role, bias.fan_in) == ("bias", (4,), "bias", 18)
    assert layer.muladds == 4 * 7 * 4 * 18
    bare = Conv((3, 3, 1), out_channels=2, kernel_size=(3, 3), bias=False)
    assert [spec.name for spec in bare.params] == ["weight"]


@pytest.mark.parametrize(
    ("in_shape", "arguments", "message"),
    [
        ((12,), {}, "a convolution needs an input of rows, columns and channels"),
        ((5, 5, 4), {"groups": 3}, "groups=3 does not divide 4 input channels"),
        ((5, 5, 6), {"groups": 3}, "groups=3 does not divide 4 output channels"),
        (
            (3, 3, 1),
            {"kernel_size": (5, 5)},
            "a 5x5 kernel does not fit its input of 3x3 (padding included)",
        ),
        (
            (9, 2, 1),
            {"padding": (1, 0)},
            "a 3x3 kernel does not fit its input of 11x2 (padding included)",
        ),
        (
            (4, 4, 1),
            {"dilation": (2, 1)},
            "a 3x3 kernel, 5x3 with its dilation, does not fit its input of 4x4 (padding included)",
        ),
    ],
)
def test_what_does_not_fit(in_shape: Shape, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError) as raised:
        Conv(in_shape, **{"out_channels": 4, "kernel_size": (3, 3), **arguments})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "more",
    [
        {"path": "winograd"},
        {"path": "im2col"},
        {"path": "taps"},
        {"stride": (2, 2)},
        {"kernel_size": (1, 1), "padding": (0, 0), "groups": 4},
        {"groups": 4},
        {"groups": 16},
        {"groups": 16, "out_channels": 32, "stride": (2, 2)},
    ],
)
def test_later_calls_allocate_no_array(more: dict[str, Any]) -> None:
    """Not even in NumPy itself, except for loop buffers, which have a fixed size."""
    arguments = {"out_channels": 16, "kernel_size": (3, 3), "padding": (1, 1), **more}
    layer = Conv((48, 48, 16), **arguments)
    x = random_input(layer, 4, seed=7, dtype=np.float32)
    ctx = make_context(layer, dtype=np.float32).but(fresh=False)

    def step() -> None:
        prepare(layer, ctx.node)
        y, _ = layer.forward(x, *ctx)
        dx = layer.backward(y, x, *ctx)
        assert dx is not None
        ctx.run.workspace.give(y)
        ctx.run.workspace.give(dx)

    for grad in ctx.node.grads.values():
        grad.fill(0)
    ctx.node.prepared_grad.fill(0)
    step()
    step()
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4


REFLECTED: list[tuple[Any, dict[str, Any]]] = [
    ((0, 2, 1, 3), {}),
    ((1, 1), {"out_channels": 16}),
    ((2, 0), {"stride": (2, 3)}),
    ((1, 2, 0, 1), {"groups": 12, "out_channels": 12}),
    ((0, 1), {"kernel_size": (1, 1)}),
    ("same", {"dilation": (1, 2), "bias": False}),
    ((0, 0), {}),
]


@pytest.mark.parametrize(("padding", "more"), REFLECTED)
def test_reflected_padding(padding: Any, more: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"out_channels": 4, "kernel_size": (3, 3)} | more
    layer = Conv((5, 7, 12), padding=padding, padding_mode="reflect", **arguments)
    zeros = Conv((5, 7, 12), padding=padding, **arguments)
    assert (layer.out_shape, layer.muladds) == (zeros.out_shape, zeros.muladds)
    x = random_input(layer, 2, seed=1)
    params = random_params(layer, seed=2)
    y, _, _ = run_layer(layer, x, params=params)
    top, bottom, left, right = zeros.geometry.padding
    padded = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)], mode="reflect")
    plain = Conv(padded.shape[1:], **arguments)
    expected, _, _ = run_layer(plain, padded, params=params)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    gradcheck(layer, x, seed=1)


def test_reflections_are_smaller_than_the_map() -> None:
    with pytest.raises(ShapeError, match="padding by reflection must be smaller than the map"):
        Conv((3, 3, 1), out_channels=1, kernel_size=(3, 3), padding=(0, 3), padding_mode="reflect")
