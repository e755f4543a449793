"""The backends over which tests run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest

from cnn_cli.nn.backends import load_backend, numpy_kernels
from cnn_cli.nn.kernels.fast import LoopKernels
from cnn_cli.nn.kernels.interface import Kernels

BackendOf = Callable[[str], Kernels]


@pytest.fixture(scope="session")
def backend() -> BackendOf:
    """Return kernels by name: `numpy`, `fast`, or `loops`, which are those of `fast` without
    compilation.
    """
    made: dict[str, Kernels] = {"numpy": numpy_kernels(), "loops": LoopKernels()}

    def get(name: str) -> Kernels:
        if name == "fast" and find_spec("numba") is None:
            pytest.skip("numba is not installed")
        if name not in made:
            made[name] = load_backend(name)
            assert made[name].name == "fast", made[name].note
        return made[name]

    return get
