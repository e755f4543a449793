"""PReLU, against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_backward, run_layer

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


def test_the_gradient_at_0_is_that_of_the_slope() -> None:
    """As PyTorch's, which takes the slope for x <= 0."""
    x = np.array([[-1.0, 0.0, 1.0]])
    layer = PReLU((3,))
    _, saved, contexts = run_layer(layer, x, {"weight": np.array([0.5])})
    dx, grads = run_backward(layer, np.array([[2.0, 2.0, 2.0]]), saved, contexts)
    assert (dx.tolist(), grads["weight"].tolist()) == ([[1.0, 1.0, 2.0]], [-2.0])


def test_prelus_numbers_are_one_or_one_a_channel() -> None:
    with pytest.raises(ShapeError, match="must be 1 or the number of channels 5"):
        PReLU((4, 3, 5), num_parameters=4)
    assert PReLU((4, 3, 5)).params[0].shape == (1,)
