"""Sums, concatenations and products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, run_backward, run_layer

from cnn_cli.nn.layers.add import Add
from cnn_cli.nn.layers.base import ShapeError
from cnn_cli.nn.layers.concat import Concat
from cnn_cli.nn.layers.excite import Excite
from cnn_cli.nn.layers.product import Product
from cnn_cli.nn.types import Array


def inputs(shapes: list[Any], n: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(1)
    return tuple(rng.standard_normal((n, *shape)) for shape in shapes)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shapes", [[(2, 3, 4)] * 2, [(5,)] * 3, [(2, 1, 3)]])
def test_add(shapes: list[Any], n: int) -> None:
    layer = Add(shapes)
    x = inputs(shapes, n)
    y, _, _ = run_layer(layer, x)
    assert layer.out_shape == shapes[0]
    np.testing.assert_allclose(y, sum(x), rtol=0, atol=1e-15)
    gradcheck(layer, x, seed=1)


def test_add_gives_each_input_memory_of_its_own() -> None:
    layer = Add([(2, 2, 3)] * 3)
    _, saved, ctx = run_layer(layer, inputs([(2, 2, 3)] * 3, 2))
    dy = ctx.run.take((2, 2, 2, 3))
    dy[...] = 1
    dx = layer.backward(dy, saved, *ctx)
    assert dx is not None
    assert dx[0] is dy
    for i, array in enumerate(dx):
        array[...] = i
    assert [array.mean() for array in dx] == [0, 1, 2]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shapes", [[(2, 3, 4), (2, 3, 1), (2, 3, 5)], [(5,), (2,)], [(2, 1, 3)]])
def test_concat(shapes: list[Any], n: int) -> None:
    layer = Concat(shapes)
    x = inputs(shapes, n)
    y, saved, ctx = run_layer(layer, x)
    np.testing.assert_array_equal(y, np.concatenate(x, axis=-1))
    gradcheck(layer, x, seed=1)
    dx, _ = run_backward(layer, y, saved, ctx)
    for part, original in zip(dx, x, strict=True):
        np.testing.assert_array_equal(part, original)


def test_shapes_that_cannot_be_added() -> None:
    with pytest.raises(ShapeError) as error:
        Add([(8, 8, 16), (8, 8, 16), (8, 8, 32)])
    assert str(error.value) == "a sum needs equal shapes, not 8x8x16 and 8x8x32"


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ([(8, 8, 16), (8, 7, 16)], "not 8x8x16 and 8x7x16"),
        ([(8, 8, 16), (16,)], "not 8x8x16 and 16"),
    ],
)
def test_shapes_that_cannot_be_concatenated(shapes: list[Any], text: str) -> None:
    with pytest.raises(ShapeError) as error:
        Concat(shapes)
    expected = f"branches need equal heights and widths to be concatenated, {text}"
    assert str(error.value) == expected


@pytest.mark.parametrize("n", [1, 3])
def test_excite(n: int) -> None:
    layer = Excite([(2, 3, 4), (4,)])
    x = inputs([(2, 3, 4), (4,)], n)
    y, _, _ = run_layer(layer, x)
    np.testing.assert_array_equal(y, x[0] * x[1][:, None, None])
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3, 4), (2, 3, 4)],
        [(2, 3, 4), (4,)],
        [(4,), (2, 3, 4)],
        [(2, 3, 4), (2, 3, 1)],
        [(2, 3, 4), (1, 1, 4), (2, 3, 1)],
        [(2, 1, 4), (1, 3, 1)],
        [(1, 1, 4), (4,)],
        [(5,), (5,)],
        [(5,), (1,)],
        [(2, 3, 4)],
    ],
)
def test_product(shapes: list[Any]) -> None:
    layer = Product(shapes)
    x = inputs(shapes, 3)
    y, _, _ = run_layer(layer, x)
    assert y.shape[1:] == layer.out_shape
    for place in np.ndindex(*y.shape):
        expected = 1.0
        for part, shape in zip(x, shapes, strict=True):
            # Of a gate the only row, column or channel; of a vector its channel.
            inner = place[1:][len(place) - 1 - len(shape) :]
            at = tuple(min(i, size - 1) for i, size in zip(inner, shape, strict=True))
            expected *= part[(place[0], *at)]
        np.testing.assert_allclose(y[place], expected, rtol=1e-14)
    gradcheck(layer, x, seed=1)


def test_shapes_that_cannot_be_multiplied() -> None:
    with pytest.raises(ShapeError) as error:
        Product([(8, 8, 16), (8, 4, 16)])
    rule = "a product needs equal shapes, or a 1 where they differ"
    assert str(error.value) == f"{rule}, not 8x4x16 for 8x8x16"
