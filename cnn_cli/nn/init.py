"""Weight initialization."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.params import Parameters, to_torch
from cnn_cli.nn.types import Array
from cnn_cli.rng import Purpose, generator


def initialize(params: Parameters, seed: int, scheme: Literal["pytorch", "kaiming"]) -> None:
    """Initialize a network's weights; each parameter has its own random stream.

    Args:
        params: the parameters to initialize.
        seed: `train.seed`.
        scheme: `pytorch`: weights and biases uniform within 1/sqrt(fan_in), as PyTorch's Conv2d and
            Linear. `kaiming`: weights normal with variance 2/fan_in (He et al. 2015, equation 10),
            biases 0. In both, scales start at 1 (or at their layer's value), shifts at 0 and slopes
            at 1/4. A convolution's own `init: dirac` makes its first filters the identity, as
            torch.nn.init.dirac_ does; `whitening` is computed later, from images.
    """
    for node in params.graph.nodes:
        for number, spec in enumerate(node.layer.params):
            rng = generator(seed, Purpose.INIT, node.index, number)
            # Drawn in PyTorch's layout, so that the weights do not depend on the kernels' layout.
            values = to_torch(params.views[node.index][spec.name], spec)
            values[...] = _draw(spec, rng, scheme)
            if spec.init == "dirac":
                _make_identity(values)
    params.touch()


def _draw(spec: ParamSpec, rng: np.random.Generator, scheme: str) -> Array | float:
    match spec.role, scheme:
        case "scale", _:
            return spec.value
        case "slope", _:
            return 0.25
        case ("shift", _) | ("bias", "kaiming"):
            return 0.0
        case "weight", "kaiming":
            return rng.normal(0, np.sqrt(2 / spec.fan_in), spec.torch_shape)
    bound = 1 / np.sqrt(spec.fan_in)
    return rng.uniform(-bound, bound, spec.torch_shape)


def _make_identity(weight: Array) -> None:
    """Make filter i, (out, in, kh, kw), copy channel i, for as many as both have."""
    identical = min(weight.shape[:2])
    weight[:identical] = 0
    middle = weight.shape[2] // 2, weight.shape[3] // 2
    for i in range(identical):
        weight[(i, i, *middle)] = 1
