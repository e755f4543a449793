"""Pooling against plain loops, PyTorch's rules for sizes and divisors, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import definitions
import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_backward, run_layer

from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.kernels.loops import pool as loops
from cnn_cli.nn.kernels.loops.activation import NONE, RELU
from cnn_cli.nn.kernels.pool import FEW_CHANNELS
from cnn_cli.nn.layers.avgpool import AvgPool
from cnn_cli.nn.layers.base import Layer, ShapeError
from cnn_cli.nn.layers.global_avgpool import GlobalAvgPool
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.types import Pair


class Geometry(NamedTuple):
    h: int
    w: int
    kernel_size: Pair
    stride: Pair
    padding: Pair = (0, 0)
    ceil_mode: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {"ceil_mode": self.ceil_mode, **self.windows}

    @property
    def windows(self) -> dict[str, Pair]:
        """The loops' arguments."""
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
        }


GEOMETRIES = [
    Geometry(4, 6, (2, 2), (2, 2)),
    Geometry(5, 7, (2, 2), (2, 2)),
    Geometry(5, 7, (2, 2), (2, 2), ceil_mode=True),
    Geometry(7, 6, (3, 3), (2, 2), (1, 1)),
    Geometry(7, 6, (3, 3), (2, 2), (1, 1), ceil_mode=True),
    Geometry(6, 5, (3, 3), (1, 1), (1, 1)),
    Geometry(6, 7, (3, 2), (1, 2), (1, 0)),
    Geometry(6, 7, (2, 3), (3, 4), (0, 1), ceil_mode=True),
    Geometry(5, 5, (4, 4), (3, 3), (2, 2), ceil_mode=True),
    Geometry(5, 4, (1, 1), (1, 1)),
    Geometry(5, 4, (1, 1), (2, 3)),
    Geometry(4, 3, (4, 3), (4, 3)),
    Geometry(1, 1, (3, 3), (1, 1), (1, 1)),
    Geometry(2, 1, (3, 3), (2, 2), (0, 1), ceil_mode=True),
]


WINDOWS: list[tuple[Pair, Pair]] = [((1, 1), (0, 0)), ((2, 3), (1, 1)), ((5, 5), (0, 1))]


@pytest.mark.parametrize("channels", [3, FEW_CHANNELS + 1])
@pytest.mark.parametrize(("stride", "padding"), WINDOWS)
def test_dilated_max_pool(
    backend: Callable[[str], Kernels], channels: int, stride: Pair, padding: Pair
) -> None:
    layer = MaxPool(
        (8, 9, channels), kernel_size=(2, 3), stride=stride, padding=padding, dilation=(3, 2)
    )
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x, kernels=backend("loops"))
    edges = [(0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)]
    padded = np.pad(x, edges, constant_values=-np.inf)
    for i, j in np.ndindex(*layer.out_shape[:2]):
        top, left = i * stride[0], j * stride[1]
        window = padded[:, top : top + 4 : 3, left : left + 5 : 2]
        np.testing.assert_array_equal(y[:, i, j], window.max(axis=(1, 2)))
    gradcheck(layer, x, seed=1)
    gradcheck(layer, x, seed=1, kernels=backend("loops"))


@pytest.mark.parametrize("activation", [NONE, RELU])
@pytest.mark.parametrize("channels", [3, FEW_CHANNELS + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_max_pool_is_the_loop(
    geometry: Geometry, dtype: Any, channels: int, activation: int
) -> None:
    layer = MaxPool((geometry.h, geometry.w, channels), **geometry.arguments)
    layer.activation = activation
    # One decimal, so that windows have ties.
    x = np.round(random_input(layer, 2, seed=1), 1).astype(dtype)
    y, index, ctx = run_layer(layer, x, dtype=dtype)
    expected, at = np.empty_like(y), np.empty(y.shape, np.intp)
    loops.max_pool(x, **geometry.windows, kind=activation, y=expected, index=at)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, at)

    dy = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
    dx, _ = run_backward(layer, dy, index, ctx)
    expected = np.empty_like(x)
    loops.max_pool_backward(dy, at, **geometry.windows, dx=expected)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-6 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_avg_pool_is_the_loop(geometry: Geometry, count_include_pad: bool) -> None:
    layer = AvgPool(
        (geometry.h, geometry.w, 3), **geometry.arguments, count_include_pad=count_include_pad
    )
    x = random_input(layer, 2, seed=1)
    y, saved, ctx = run_layer(layer, x)
    expected = np.empty_like(y)
    definitions.avg_pool(x, **geometry.windows, count_include_pad=count_include_pad, y=expected)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)

    dy = np.random.default_rng(2).standard_normal(y.shape)
    dx, _ = run_backward(layer, dy, saved, ctx)
    expected = np.empty_like(x)
    definitions.avg_pool_backward(
        dy, **geometry.windows, count_include_pad=count_include_pad, dx=expected
    )
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES[:9])
@pytest.mark.parametrize("kind", [MaxPool, AvgPool])
def test_gradients(kind: Any, geometry: Geometry, n: int) -> None:
    layer = kind((geometry.h, geometry.w, 2), **geometry.arguments)
    gradcheck(layer, random_input(layer, n, seed=3), seed=3)


@pytest.mark.parametrize("n", [1, 3])
def test_global_avg_pool(n: int) -> None:
    layer = GlobalAvgPool((5, 3, 4))
    x = random_input(layer, n, seed=4)
    y, _, _ = run_layer(layer, x)
    np.testing.assert_allclose(y, x.mean(axis=(1, 2)), rtol=0, atol=1e-14)
    gradcheck(layer, x, seed=4)


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        # PyTorch's MaxPool2d: the last window must start before the end of the input.
        (Geometry(5, 8, (2, 2), (2, 2), (0, 0), False), (2, 4)),
        (Geometry(5, 8, (2, 2), (2, 2), (0, 0), True), (3, 4)),
        (Geometry(5, 8, (3, 3), (2, 2), (1, 1), False), (3, 4)),
        (Geometry(5, 8, (3, 3), (2, 2), (1, 1), True), (3, 5)),
        (Geometry(4, 7, (2, 2), (3, 3), (1, 1), True), (2, 3)),
        (Geometry(2, 2, (3, 3), (2, 2), (0, 0), True), (1, 1)),
        (Geometry(112, 112, (3, 3), (2, 2), (1, 1), False), (56, 56)),
    ],
)
def test_output_size(geometry: Geometry, size: Pair) -> None:
    layer = MaxPool((geometry.h, geometry.w, 1), **geometry.arguments)
    assert layer.out_shape == (*size, 1)


def test_the_first_of_equal_values_gets_the_gradient() -> None:
    layer = MaxPool((2, 4, 1), kernel_size=(2, 2), stride=(2, 2))
    x = np.array([[1, 3, 2, 0], [3, 3, 1, 2]], float).reshape(1, 2, 4, 1)
    _, index, ctx = run_layer(layer, x)
    assert index.ravel().tolist() == [1, 0]
    dx, _ = run_backward(layer, np.array([5.0, 7.0]).reshape(1, 1, 2, 1), index, ctx)
    assert dx.reshape(2, 4).tolist() == [[0, 5, 7, 0], [0, 0, 0, 0]]


def test_padding_never_wins() -> None:
    layer = MaxPool((3, 3, 1), kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
    for value in (-5.0, -np.inf):
        x = np.full((1, 3, 3, 1), value)
        y, index, ctx = run_layer(layer, x)
        assert (y == value).all()
        dx, _ = run_backward(layer, np.ones(y.shape), index, ctx)
        assert dx.sum() == 4


@pytest.mark.parametrize("position", [0, 3, 8])
def test_nan_goes_through(position: int) -> None:
    layer = MaxPool((3, 3, 1), kernel_size=(3, 3), stride=(3, 3))
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    x.reshape(-1)[position] = np.nan
    y, _, _ = run_layer(layer, x)
    assert np.isnan(y).all()


@pytest.mark.parametrize(("kernel", "dtype"), [(15, np.uint8), (16, np.uint16)])
def test_index_is_narrow(kernel: int, dtype: Any) -> None:
    layer = MaxPool((kernel, kernel, 1), kernel_size=(kernel, kernel), stride=(1, 1))
    x = np.arange(kernel**2, dtype=float).reshape(1, kernel, kernel, 1)
    _, index, ctx = run_layer(layer, x)
    assert index.dtype == dtype
    assert index.item() == kernel**2 - 1
    dx, _ = run_backward(layer, np.ones((1, 1, 1, 1)), index, ctx)
    assert dx.reshape(-1).nonzero()[0].tolist() == [kernel**2 - 1]


def test_divisors() -> None:
    geometry = Geometry(4, 4, (3, 3), (2, 2), (1, 1), ceil_mode=True)
    x = np.ones((1, 4, 4, 1))
    y, _, _ = run_layer(AvgPool((4, 4, 1), **geometry.arguments), x)
    # Elements inside the input by elements inside the padded input.
    share = [2 / 3, 3 / 3, 1 / 2]
    np.testing.assert_allclose(y[0, ..., 0], np.outer(share, share))
    y, _, _ = run_layer(AvgPool((4, 4, 1), **geometry.arguments, count_include_pad=False), x)
    np.testing.assert_allclose(y[0, ..., 0], np.ones((3, 3)))


@pytest.mark.parametrize(
    ("layer", "in_shape", "given", "text"),
    [
        (
            MaxPool,
            (4, 5, 3),
            {"kernel_size": (5, 5), "stride": (5, 5)},
            "kernel_size 5x5 must fit the padded input of 4x5",
        ),
        (
            AvgPool,
            (2, 9, 3),
            {"kernel_size": (5, 3), "stride": (1, 1), "padding": (1, 1)},
            "kernel_size 5x3 must fit the padded input of 4x11",
        ),
        (
            MaxPool,
            (9, 9, 3),
            {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 2)},
            "padding must be at most half of kernel_size",
        ),
        (
            MaxPool,
            (10,),
            {"kernel_size": (2, 2), "stride": (2, 2)},
            "pooling needs a map: height, width and channels",
        ),
        (GlobalAvgPool, (10,), {}, "pooling needs a map: height, width and channels"),
    ],
)
def test_what_cannot_fit(layer: Callable[..., Layer], in_shape: Any, given: Any, text: str) -> None:
    with pytest.raises(ShapeError) as error:
        layer(in_shape, **given)
    assert str(error.value) == text


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [(0, 1, 0, 1), (1, 0, 1, 1)])
def test_four_sides(
    backend: Callable[[str], Kernels], padding: tuple[int, int, int, int], ceil_mode: bool
) -> None:
    """Extra padding on one side equals a larger map, of which the rest is cropped."""
    top, bottom, left, right = padding
    arguments: dict[str, Any] = {"kernel_size": (3, 3), "stride": (2, 2), "ceil_mode": ceil_mode}
    kernels = backend("loops")
    for made_of, outside in ((MaxPool, -np.inf), (AvgPool, 0.0)):
        layer = made_of((6, 7, 2), padding=padding, **arguments)
        x = random_input(layer, 2, seed=1)
        y, _, _ = run_layer(layer, x, kernels=kernels)
        edges = [(0, 0), (top, bottom), (left, right), (0, 0)]
        padded = np.pad(x, edges, constant_values=outside)
        plain = made_of(padded.shape[1:], **arguments)
        expected, _, _ = run_layer(plain, padded, kernels=kernels)
        assert layer.out_shape == tuple(
            min(size, limit) for size, limit in zip(plain.out_shape, y.shape[1:], strict=True)
        )
        np.testing.assert_allclose(y, expected[:, : y.shape[1], : y.shape[2]], rtol=1e-12)
        gradcheck(layer, x, seed=1, kernels=kernels)
    uncounted = AvgPool((6, 7, 2), padding=padding, count_include_pad=False, **arguments)
    ones = np.ones((1, 6, 7, 2))
    np.testing.assert_allclose(run_layer(uncounted, ones, kernels=kernels)[0], 1, rtol=1e-12)


def test_padding_is_at_most_half_of_the_kernel_along_its_own_axis() -> None:
    assert MaxPool((8, 8, 1), kernel_size=(2, 6), padding=(1, 1, 3, 3)).out_shape == (5, 2, 1)
    with pytest.raises(ShapeError, match="at most half"):
        MaxPool((8, 8, 1), kernel_size=(2, 6), padding=(0, 2, 0, 0))
