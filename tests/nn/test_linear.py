"""The fully connected layer against its formula, and its gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_backward, run_layer

from cnn_cli.nn.layers.linear import Linear
from cnn_cli.nn.types import Shape

SHAPES: list[Shape] = [(5,), (1,), (2, 3, 4), (3, 2, 1), (1, 1, 6)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("in_shape", SHAPES)
def test_gradients(in_shape: Shape, n: int, bias: bool) -> None:
    layer = Linear(in_shape, out_features=4, bias=bias)
    gradcheck(layer, random_input(layer, n, seed=1), seed=1)


@pytest.mark.parametrize("in_shape", SHAPES)
def test_formula(in_shape: Shape) -> None:
    layer = Linear(in_shape, out_features=4)
    x = random_input(layer, 3, seed=2)
    y, saved, ctx = run_layer(layer, x, seed=2)
    flat = x if x.ndim == 2 else np.array([image.transpose(2, 0, 1).ravel() for image in x])
    weight = ctx.node.params["weight"]
    np.testing.assert_allclose(y, flat @ weight.T + ctx.node.params["bias"], rtol=1e-12, atol=1e-12)

    dy = np.random.default_rng(2).standard_normal(y.shape)
    dx, grads = run_backward(layer, dy, saved, ctx)
    back = dx if x.ndim == 2 else np.array([image.transpose(2, 0, 1).ravel() for image in dx])
    np.testing.assert_allclose(back, dy @ weight, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grads["weight"], dy.T @ flat, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grads["bias"], dy.sum(0), rtol=1e-12, atol=1e-12)


def test_flattens_channels_first() -> None:
    layer = Linear((2, 2, 3), out_features=12, bias=False)
    x = np.arange(12.0).reshape(1, 2, 2, 3)
    y, _, _ = run_layer(layer, x, {"weight": np.eye(12)})
    np.testing.assert_array_equal(y, [[0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]])


def test_float32() -> None:
    layer = Linear((4, 5, 6), out_features=7)
    x = random_input(layer, 3, seed=3)
    exact, _, _ = run_layer(layer, x, seed=3)
    y, _, _ = run_layer(layer, x, dtype=np.float32, seed=3)
    assert y.dtype == np.float32
    assert np.abs(y - exact).max() < 1e-5 * np.abs(exact).max()


def test_describes_itself() -> None:
    layer = Linear((2, 3, 4), out_features=5)
    weight, bias = layer.params
    assert layer.out_shape == (5,)
    assert (weight.name, weight.shape, weight.torch_shape, weight.fan_in) == (
        "weight",
        (5, 24),
        (5, 24),
        24,
    )
    assert (bias.name, bias.shape, bias.role, bias.fan_in) == ("bias", (5,), "bias", 24)
    assert layer.muladds == 5 * 24
    assert [spec.name for spec in Linear((3,), out_features=2, bias=False).params] == ["weight"]
