"""The activations that have NumPy forms only, against scalar formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import definitions
import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_backward, run_layer

from cnn_cli.nn.layers.base import Layer, ShapeError
from cnn_cli.nn.layers.prelu import PReLU
from cnn_cli.nn.layers.rare import (
    ELU,
    SELU,
    SELU_ALPHA,
    SELU_SCALE,
    HardSigmoid,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)

Scalar = Callable[[float], float]
SELU_NUMBERS = {"alpha": SELU_ALPHA, "scale": SELU_SCALE}


def cases(*shape: int) -> list[tuple[Layer, Scalar, Scalar]]:
    """Each layer, its function and its derivative."""
    return [
        (Sigmoid(shape), definitions.sigmoid, definitions.sigmoid_derivative),
        (HardSigmoid(shape), definitions.hardsigmoid, definitions.hardsigmoid_derivative),
        (Tanh(shape), math.tanh, definitions.tanh_derivative),
        (
            ELU(shape, alpha=0.7),
            partial(definitions.elu, alpha=0.7, scale=1),
            partial(definitions.elu_derivative, alpha=0.7, scale=1),
        ),
        (
            SELU(shape),
            partial(definitions.elu, **SELU_NUMBERS),
            partial(definitions.elu_derivative, **SELU_NUMBERS),
        ),
        (Softplus(shape), definitions.softplus, definitions.sigmoid),
        (Softsign(shape), definitions.softsign, definitions.softsign_derivative),
    ]


@pytest.mark.parametrize("case", range(len(cases(1))))
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 2e-6)])
def test_is_the_scalar_formula(case: int, dtype: Any, tolerance: float) -> None:
    layer, function, derivative = cases(3000)[case]
    x = (4 * random_input(layer, 1, seed=1)).astype(dtype)
    x[0, 0] = 0
    y, saved, ctx = run_layer(layer, x, dtype=dtype)
    values = x[0].tolist()
    np.testing.assert_allclose(y[0], [function(v) for v in values], rtol=0, atol=tolerance)
    dx, _ = run_backward(layer, np.full_like(x, 3), saved, ctx)
    expected = [3 * derivative(v) for v in values]
    np.testing.assert_allclose(dx[0, 1:], expected[1:], rtol=0, atol=3 * tolerance)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("layer", [layer for layer, _, _ in cases(4, 3, 5)])
def test_gradients(layer: Layer, n: int) -> None:
    gradcheck(layer, 2 * random_input(layer, n, seed=2), seed=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", [layer for layer, _, _ in cases(5)])
def test_large_values_overflow_nothing(layer: Layer, dtype: Any) -> None:
    largest = float(np.finfo(dtype).max) / 4
    x = np.array([[-largest, -1e4, 0, 1e4, largest]], dtype)
    y, saved, ctx = run_layer(layer, x, dtype=dtype)
    dx, _ = run_backward(layer, np.ones_like(x), saved, ctx)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("layer", [layer for layer, _, _ in cases(5)])
def test_nan_stays(layer: Layer) -> None:
    x = np.array([[0, np.nan, 1, -1, np.nan]])
    y, _, _ = run_layer(layer, x)
    assert np.isnan(y).tolist() == np.isnan(x).tolist()


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("shape", [(4, 3, 5), (5,)])
def test_prelu(shape: tuple[int, ...], count: int) -> None:
    layer = PReLU(shape, num_parameters=count)
    x = random_input(layer, 3, seed=1)
    weight = np.linspace(-0.5, 2, count)
    y, _, _ = run_layer(layer, x, {"weight": weight})
    np.testing.assert_allclose(y, np.where(x > 0, x, weight * x), rtol=1e-15)
    gradcheck(layer, x, seed=1)


def test_prelus_numbers_are_one_or_one_a_channel() -> None:
    with pytest.raises(ShapeError, match="must be 1 or the number of channels 5"):
        PReLU((4, 3, 5), num_parameters=4)
