"""Activations against scalar formulas, at sizes around block boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import definitions
import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_backward, run_layer

from cnn_cli.nn.kernels.activation import ACTIVATIONS
from cnn_cli.nn.kernels.erf import erf
from cnn_cli.nn.layers import layer_class
from cnn_cli.nn.layers.activation import ELU, LeakyReLU
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.types import Array

Scalar = Callable[[float], float]
SLOPES = (0.01, 0.0, 1.0, 2.5)
SIZES = [1, 1023, 1024, 3000, 20000, 32768, 40000]
# An activation without arguments is tested against its formula in `definitions`, by name.
PLAIN: dict[str, tuple[Scalar, Scalar]] = {
    kind: (getattr(definitions, kind), getattr(definitions, f"{kind}_derivative"))
    for kind in ACTIVATIONS
    if kind not in ("leaky_relu", "elu")
}
RISING = ["relu", "silu", "gelu", "relu6", "hardswish", "leaky_relu"]


def cases(*shape: int) -> list[tuple[Layer, Scalar, Scalar]]:
    """Return each layer, its function and its derivative."""
    plain = [(layer_class(kind)(shape), *functions) for kind, functions in PLAIN.items()]
    leaky: list[tuple[Layer, Scalar, Scalar]] = [
        (
            LeakyReLU(shape, negative_slope=slope),
            partial(definitions.leaky_relu, slope=slope),
            partial(definitions.leaky_relu_derivative, slope=slope),
        )
        for slope in SLOPES
    ]
    elu = (
        ELU(shape, alpha=0.7),
        partial(definitions.elu, alpha=0.7, scale=1),
        partial(definitions.elu_derivative, alpha=0.7, scale=1),
    )
    return [*plain, *leaky, elu]


def layers(*shape: int) -> list[Layer]:
    return [layer for layer, _, _ in cases(*shape)]


def test_every_activation_is_among_the_cases() -> None:
    assert {layer.kind for layer in layers(1)} == set(ACTIVATIONS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", range(len(cases(1))))
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 2e-6)])
def test_is_the_scalar_formula(case: int, size: int, dtype: Any, tolerance: float) -> None:
    layer, function, derivative = cases(size)[case]
    x = (4 * random_input(layer, 1, seed=1)).astype(dtype)
    x[0, 0] = 0
    y, saved, ctx = run_layer(layer, x, dtype=dtype)
    values = x[0].tolist()
    np.testing.assert_allclose(y[0], [function(v) for v in values], rtol=0, atol=tolerance)
    dx, _ = run_backward(layer, np.full_like(x, 3), saved, ctx)
    expected = [3 * derivative(v) for v in values]
    kink = 1 if layer.kind in ("elu", "selu") else 0  # the slopes differ at 0
    np.testing.assert_allclose(dx[0, kink:], expected[kink:], rtol=0, atol=3 * tolerance)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("layer", layers(4, 3, 5), ids=lambda layer: layer.kind)
def test_gradients(layer: Layer, n: int) -> None:
    gradcheck(layer, 3 * random_input(layer, n, seed=2), seed=2)


@pytest.mark.parametrize("layer", layers(33000), ids=lambda layer: layer.kind)
def test_output_over_the_input(layer: Layer) -> None:
    x = random_input(layer, 1, seed=3)
    y, _, ctx = run_layer(layer, x)
    over, _ = layer.forward(x, *ctx.but(inplace=True))
    assert over is x
    np.testing.assert_array_equal(over, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", layers(5), ids=lambda layer: layer.kind)
def test_large_values_overflow_nothing(layer: Layer, dtype: Any) -> None:
    largest = float(np.finfo(dtype).max) / 4
    x = np.array([[-largest, -1e4, 0, 1e4, largest]], dtype)
    y, saved, ctx = run_layer(layer, x, dtype=dtype)
    dx, _ = run_backward(layer, np.ones_like(x), saved, ctx)
    if layer.kind in RISING:
        bounded = layer.kind == "relu6"
        np.testing.assert_allclose(y[0, 3:], 6 if bounded else x[0, 3:], rtol=1e-6)
        np.testing.assert_allclose(dx[0, 3:], 0 if bounded else 1, rtol=1e-6)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("layer", layers(2000), ids=lambda layer: layer.kind)
def test_nan_stays(layer: Layer) -> None:
    x = np.zeros((1, 2000))
    x[0, [3, 1999]] = np.nan
    y, _, _ = run_layer(layer, x)
    assert np.isnan(y).nonzero()[1].tolist() == [3, 1999]


def dense_grid() -> Array:
    """Return points where erf bends, at the ends of its approximations, and far out."""
    ends = np.array([0.46875, 4.0, 6.0])
    near = np.concatenate([np.nextafter(ends, 0), ends, np.nextafter(ends, 10)])
    far = np.array([0.0, 1e-300, 1e-20, 20.0, 1e30])
    half = np.concatenate([np.linspace(0, 7, 70_001), near, far])
    return np.concatenate([-half, half])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-15), (np.float32, 2e-7)])
def test_erf(dtype: Any, tolerance: float) -> None:
    x = dense_grid().astype(dtype)
    y = np.full_like(x, np.nan)
    erf(x, y, np.empty_like(x))
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [math.erf(v) for v in x.tolist()], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(np.signbit(y), np.signbit(x))


def test_erf_at_infinity() -> None:
    for dtype in (np.float32, np.float64):
        x = np.array([-np.inf, np.inf, np.nan], dtype)
        y = np.empty_like(x)
        erf(x, y, np.empty_like(x))
        np.testing.assert_array_equal(y, [-1, 1, np.nan])
