"""PReLU, against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_layer

from cnn_cli.nn.layers.base import ShapeError
from cnn_cli.nn.layers.prelu import PReLU


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
    assert PReLU((4, 3, 5)).params[0].shape == (1,)
