"""Flattening keeps PyTorch's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_layer

from cnn_cli.nn.layers.flatten import Flatten


def test_order_is_channel_row_column() -> None:
    layer = Flatten((2, 3, 4))
    # Each value encodes its position: 100 channel + 10 row + column.
    row, column, channel = np.indices((2, 3, 4))
    x = (100 * channel + 10 * row + column)[None].astype(float)
    y, _, _ = run_layer(layer, x)
    expected = [100 * c + 10 * i + j for c in range(4) for i in range(2) for j in range(3)]
    assert y.tolist() == [expected]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 5), (3, 2, 1), (6,)])
def test_gradients(shape: Any, n: int) -> None:
    layer = Flatten(shape)
    assert layer.out_shape == (int(np.prod(shape)),)
    gradcheck(layer, random_input(layer, n, seed=1), seed=1)
