"""Multiplication by a constant."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_layer

from cnn_cli.nn.layers.scale import Scale


@pytest.mark.parametrize("factor", [1 / 9, -2.0, 0.0])
def test_values_and_gradients(factor: float) -> None:
    layer = Scale((3, 2, 4), factor=factor)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    np.testing.assert_array_equal(y, factor * x)
    gradcheck(layer, x, seed=1)
