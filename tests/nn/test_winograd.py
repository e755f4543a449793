"""Winograd's convolution against direct convolution, and its transforms against loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_backward, run_layer
from numpy.typing import DTypeLike
from test_golden import Twin, assert_close

from cnn_cli.nn.context import Workspace
from cnn_cli.nn.kernels import winograd
from cnn_cli.nn.kernels.geometry import Geometry, Padding
from cnn_cli.nn.kernels.loops import conv as direct
from cnn_cli.nn.kernels.loops import winograd as loops
from cnn_cli.nn.kernels.paths import Backend, Path, can_take, choose_path
from cnn_cli.nn.kernels.winograd import POSITIONS, Transforms
from cnn_cli.nn.layers import conv as conv_layer
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.types import Array, Pair, Shape

LOOPS = Transforms(loops.window_transform, loops.block_transform, loops.output_transform)
TRANSFORMS = {"numpy": winograd.NUMPY, "narrow": winograd.NUMPY_NARROW, "loops": LOOPS}
TILES = [(1, 1), (1, 3), (2, 1), (3, 2)]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def make_scratch(dtype: DTypeLike) -> Any:
    workspace = Workspace()

    def scratch(name: str, shape: Shape) -> Array:
        array = workspace.scratch(name, shape, dtype)
        array.fill(np.nan)
        return array

    return scratch


def convolve(
    x: Array, dy: Array, weight: Array, bias: Array, geometry: Geometry, transforms: Transforms
) -> list[Array]:
    """Return [y, dx, dweight] in the dtype of `x`; everything is written over NaN."""
    scratch = make_scratch(x.dtype)
    prepared = np.full((2, POSITIONS, *weight.shape[2:]), np.nan, x.dtype)
    prepared_grad = np.full_like(prepared[0], np.nan)
    y, dx, dweight = (np.full_like(array, np.nan) for array in (dy, x, weight))
    winograd.transform_weight(weight, prepared)
    winograd.forward(x, prepared, bias, geometry, scratch, y, transforms)
    winograd.backward(x, dy, prepared, geometry, scratch, prepared_grad, True, dx, transforms)
    winograd.weight_gradient(prepared_grad, dweight)
    return [y, dx, dweight]


def convolve_directly(
    x: Array, dy: Array, weight: Array, bias: Array, geometry: Geometry
) -> list[Array]:
    """Return [y, dx, dweight] by the definition."""
    place = geometry.start, geometry.stride, geometry.dilation
    y = np.zeros_like(dy) + bias
    dx, dweight = np.zeros_like(x), np.zeros_like(weight)
    direct.conv_forward(x, weight, *place, y)
    direct.conv_input_gradient(dy, weight, *place, dx)
    direct.conv_weight_gradient(x, dy, *place, dweight)
    return [y, dx, dweight]


def relative_errors(actual: list[Array], exact: list[Array]) -> list[float]:
    return [
        float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(actual, exact, strict=True)
    ]


@pytest.mark.parametrize("transforms", TRANSFORMS)
@pytest.mark.parametrize(
    ("n", "size", "padding"),
    [
        (1, (1, 1), (1, 1, 1, 1)),
        (3, (1, 1), (1, 1, 1, 1)),
        (2, (1, 2), (2, 2, 1, 1)),
        (1, (3, 3), (0, 0, 0, 0)),
        (2, (4, 4), (1, 1, 1, 1)),
        (1, (5, 5), (1, 1, 1, 1)),
        (2, (5, 5), (2, 2, 2, 2)),
        (2, (5, 9), (0, 0, 0, 0)),
        (1, (6, 6), (0, 0, 0, 0)),
        (1, (7, 4), (1, 1, 1, 1)),
        (2, (8, 8), (1, 1, 1, 1)),
        (1, (9, 6), (0, 2, 1, 0)),
        (1, (6, 10), (2, 0, 0, 1)),
    ],
)
def test_equals_direct_convolution(n: int, size: Pair, padding: Padding, transforms: str) -> None:
    geometry = Geometry((*size, 3), 4, (3, 3), padding=padding)
    x, weight, bias = random(n, *size, 3), random(3, 3, 3, 4, seed=1), random(4, seed=2)
    dy = random(n, *geometry.out_size, 4, seed=3)
    actual = convolve(x, dy, weight, bias, geometry, TRANSFORMS[transforms])
    exact = convolve_directly(x, dy, weight, bias, geometry)
    assert max(relative_errors(actual, exact)) <= 1e-12


@pytest.mark.parametrize("channels", [32, 64, 128, 256, 512])
def test_float32_stays_close_to_float64(channels: int) -> None:
    """Compared with the float64 form, which is tested above; its own error is 1e-15."""
    geometry = Geometry((7, 9, channels), channels, (3, 3), padding=(1, 1, 1, 1))
    x, dy = random(2, *geometry.in_shape), random(2, 7, 9, channels, seed=3)
    weight = random(3, 3, channels, channels, seed=1) / np.sqrt(9 * channels)
    bias = random(channels, seed=2)
    transforms = winograd.numpy_transforms(geometry)
    exact = convolve(x, dy, weight, bias, geometry, transforms)
    x, dy, weight, bias = (array.astype(np.float32) for array in (x, dy, weight, bias))
    actual = convolve(x, dy, weight, bias, geometry, transforms)
    assert [array.dtype for array in actual] == [np.float32] * 3
    assert max(relative_errors(actual, exact)) <= 1e-4


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("start", [(-1, -1), (0, 0), (-2, 0), (3, -1)])
@pytest.mark.parametrize("tiles", TILES)
def test_windows_as_in_loops(tiles: Pair, start: Pair, c: int) -> None:
    """Windows that extend beyond the image on any side, partly or completely."""
    rows, columns = tiles
    for less in (0, 2, 5):
        h, w = max(1, 4 * rows + 2 - less), max(1, 4 * columns + 2 - less)
        both_ways("windows", random(2, h, w, c), start, (2, rows, columns, POSITIONS, c))


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("top", [0, 4])
@pytest.mark.parametrize("tiles", TILES)
def test_blocks_and_outputs_as_in_loops(tiles: Pair, top: int, c: int) -> None:
    rows, columns = tiles
    for less in range(4):
        h, w = top + 4 * rows - less, 4 * columns - less
        shape = (2, rows, columns, POSITIONS, c)
        both_ways("blocks", random(2, h, w, c), (top,), shape)
        images = []
        for transforms in TRANSFORMS.values():
            y = np.full((2, h, w, c), 7.0)
            m = tiles_of(transforms, shape)
            m[...] = random(*shape)
            transforms.outputs(m, y, top, exact_room(shape))
            images.append(y)
        for ours in images:
            np.testing.assert_allclose(ours, images[-1], rtol=1e-12, atol=1e-12)
            assert (ours[:, :top] == 7).all()


def both_ways(name: str, x: Array, where: tuple[int, ...], shape: Shape) -> None:
    tiles = []
    for transforms in TRANSFORMS.values():
        v = tiles_of(transforms, shape)
        getattr(transforms, name)(x, *where, v, exact_room(shape))
        tiles.append(v)
    for ours in tiles:
        np.testing.assert_allclose(ours, tiles[-1], rtol=1e-12, atol=1e-12)


def tiles_of(transforms: Transforms, shape: Shape) -> Array:
    """Return memory for tiles of (n, rows, columns, 36, c), in the order of the transforms."""
    n, rows, columns, positions, c = shape
    if transforms.by_position:
        return np.full((positions, n, rows, columns, c), np.nan).transpose(1, 2, 3, 0, 4)
    return np.full(shape, np.nan)


def exact_room(shape: Shape) -> Array:
    """Return a spare vector of exactly the size that `Transforms` promises."""
    n, rows, columns, positions, c = shape
    return np.full(n * (rows + 1) * (columns + 1) * positions * c, np.nan)


@pytest.mark.parametrize("channels", [(1, 1), (3, 2), (2, 5)])
def test_weights_as_in_loops(channels: Pair) -> None:
    weight, prepared_grad = random(3, 3, *channels), random(POSITIONS, *channels, seed=1)
    prepared, expected = np.full((2, 2, *prepared_grad.shape), np.nan)
    winograd.transform_weight(weight, prepared)
    loops.transform_weight(weight, expected)
    np.testing.assert_allclose(prepared, expected, rtol=1e-12, atol=1e-14)
    dweight, exact = np.full((2, *weight.shape), np.nan)
    winograd.weight_gradient(prepared_grad, dweight)
    loops.weight_gradient(prepared_grad, exact)
    np.testing.assert_allclose(dweight, exact, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("most", "blocks"), [(1, 12), (5, 8), (6, 4), (13, 2)])
def test_blocks_add_up(most: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles beyond the budget, here 4 images with 3 rows of 2 each, are processed in parts."""
    geometry = Geometry((9, 6, 2), 3, (3, 3), padding=(1, 1, 1, 1))
    arrays = random(4, 9, 6, 2), random(4, 9, 6, 3, seed=1), random(3, 3, 2, 3, seed=2), random(3)
    whole = convolve(*arrays, geometry, winograd.NUMPY)
    monkeypatch.setattr(winograd, "BLOCK_BYTES", 0)
    monkeypatch.setattr(winograd, "BLOCK_TILES", most)
    for transforms in TRANSFORMS.values():
        assert len(list(winograd._tiles(geometry, 4, make_scratch(float), transforms))) == blocks
        parts = convolve(*arrays, geometry, transforms)
        assert max(relative_errors(parts, whole)) <= 1e-12


@pytest.mark.parametrize(
    ("in_shape", "arguments"),
    [
        ((5, 5, 3), {"padding": (1, 1)}),
        ((5, 6, 3), {"padding": "same", "bias": False}),
        ((3, 4, 2), {"padding": (2, 0)}),
        ((1, 1, 2), {"padding": (1, 1)}),
        ((9, 7, 2), {}),
    ],
)
def test_gradients(in_shape: Shape, arguments: dict[str, Any]) -> None:
    layer = Conv(in_shape, out_channels=4, kernel_size=(3, 3), path="winograd", **arguments)
    for n in (1, 2):
        gradcheck(layer, random_input(layer, n, seed=3), seed=3)


def test_later_chunks_add() -> None:
    """Two chunks of a step: the first writes, the second adds, `collect` reads the sum."""
    layer = Conv((6, 5, 3), out_channels=4, kernel_size=(3, 3), path="winograd")
    x = random_input(layer, 3, seed=1)
    y, saved, ctx = run_layer(layer, x, seed=1)
    dy = random(*y.shape, seed=2)
    _, whole = run_backward(layer, dy, saved, ctx)
    _, _ = run_backward(layer, dy[:1], x[:1], ctx)
    ctx = ctx.but(fresh=False)
    _, summed = run_backward(layer, dy[1:], x[1:], ctx)
    np.testing.assert_allclose(summed["weight"], whole["weight"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(summed["bias"], whole["bias"], rtol=1e-12, atol=1e-12)


def winograd_if_possible(geometry: Geometry, backend: Backend = "numpy") -> Path:
    possible = can_take("winograd", geometry)
    return "winograd" if possible else choose_path(geometry, backend)


@pytest.mark.parametrize("name", ["resnet", "branches"])
def test_networks_train_as_in_pytorch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_layer, "choose_path", winograd_if_possible)
    twin = Twin(name, "float64", 2)
    layers = [node.layer for node in twin.engine.graph.nodes]
    assert any(isinstance(layer, Conv) and layer.path == "winograd" for layer in layers)
    with twin.engine:
        logits = twin.engine.predict(twin.x)
        np.testing.assert_allclose(logits, twin.golden["logits_evaluation"], rtol=0, atol=1e-12)
        for step in range(3):
            twin.step(step)
            if step == 0:
                gradients = twin.params.named(twin.engine.gradient_views)
                assert_close(gradients, twin.part("gradient"), 1e-9)
        assert_close(twin.state(), twin.part("after3"), 1e-7)


def test_numpy_transforms_by_channels() -> None:
    for c, o, narrow in ((32, 32, True), (12, 16, True), (33, 16, False), (16, 33, False)):
        transforms = winograd.numpy_transforms(Geometry((8, 8, c), o, (3, 3)))
        assert transforms is (winograd.NUMPY_NARROW if narrow else winograd.NUMPY)


@pytest.mark.parametrize("transforms", ["numpy", "narrow"])
def test_every_size_up_to_two_tiles(transforms: str) -> None:
    for h, w in product(range(1, 9), range(1, 9)):
        geometry = Geometry((h, w, 1), 2, (3, 3), padding=(1, 1, 1, 1))
        arrays = random(1, h, w, 1), random(1, h, w, 2), random(3, 3, 1, 2, seed=2), random(2)
        actual = convolve(*arrays, geometry, TRANSFORMS[transforms])
        assert max(relative_errors(actual, convolve_directly(*arrays, geometry))) <= 1e-12
