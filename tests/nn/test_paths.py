"""The choice of a convolution's path."""

from __future__ import annotations

from typing import Any

import pytest

from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.paths import Backend, Path, can_take, choose_path, forward_path
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.types import Shape

SAME = (1, 1, 1, 1)

CASES: list[tuple[Shape, int, dict[str, Any], Path, Path]] = [
    # in_shape, outputs, differences from a padded 3×3 kernel; path with NumPy, with compiled loops
    ((32, 32, 32), 32, {}, "winograd", "winograd"),
    ((32, 32, 16), 16, {}, "winograd", "winograd"),
    ((8, 8, 128), 128, {}, "winograd", "winograd"),
    ((14, 14, 256), 256, {}, "winograd", "winograd"),
    ((14, 14, 64), 64, {}, "winograd", "winograd"),
    ((30, 30, 64), 64, {"padding": (0, 0, 0, 0)}, "winograd", "winograd"),
    # Few channels, or large margins, pay off for cheap transforms only.
    ((32, 32, 8), 8, {}, "im2col", "winograd"),
    ((32, 32, 64), 8, {}, "im2col", "winograd"),
    ((14, 14, 16), 16, {}, "im2col", "winograd"),
    ((5, 5, 64), 64, {}, "im2col", "winograd"),
    ((32, 32, 4), 64, {}, "im2col", "im2col"),
    ((2, 2, 64), 64, {}, "im2col", "im2col"),
    # Weights that are larger than the maps, and maps whose products justify them.
    ((8, 8, 512), 512, {}, "winograd", "winograd"),
    ((7, 7, 384), 512, {}, "winograd", "winograd"),
    ((5, 5, 256), 256, {}, "im2col", "im2col"),
    ((4, 4, 256), 256, {}, "im2col", "im2col"),
    ((7, 7, 512), 512, {}, "im2col", "im2col"),
    ((1, 1, 64), 64, {}, "im2col", "im2col"),
    # Shapes that Winograd does not support.
    ((32, 32, 32), 32, {"stride": (2, 2)}, "im2col", "im2col"),
    ((32, 32, 32), 32, {"dilation": (2, 1)}, "im2col", "im2col"),
    ((32, 32, 32), 32, {"groups": 2}, "im2col", "im2col"),
    ((32, 32, 32), 32, {"kernel_size": (5, 5)}, "im2col", "im2col"),
    ((32, 32, 32), 32, {"padding": (3, 1, 1, 1)}, "im2col", "im2col"),
    ((32, 32, 32), 32, {"padding": (-1, 1, 1, 1)}, "im2col", "im2col"),
    # The first layer.
    ((32, 32, 3), 32, {}, "taps", "taps"),
    ((28, 28, 1), 32, {"kernel_size": (5, 5)}, "taps", "taps"),
    ((224, 224, 3), 16, {"stride": (2, 2)}, "im2col", "im2col"),
    ((224, 224, 3), 64, {"kernel_size": (7, 7), "stride": (2, 2)}, "im2col", "im2col"),
    ((8, 8, 3), 16, {}, "im2col", "im2col"),
    ((32, 32, 64), 256, {"kernel_size": (1, 1), "padding": (0, 0, 0, 0)}, "pointwise", "pointwise"),
    ((32, 32, 64), 64, {"kernel_size": (1, 1), "stride": (2, 2)}, "im2col", "im2col"),
    ((32, 32, 32), 32, {"groups": 32}, "depthwise", "depthwise"),
    ((32, 32, 32), 64, {"groups": 32, "stride": (2, 2)}, "depthwise", "depthwise"),
]


@pytest.mark.parametrize("backend", ["numpy", "fast"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} to {case[1]}, {case[2]}")
def test_chooses(case: tuple[Shape, int, dict[str, Any], Path, Path], backend: Backend) -> None:
    in_shape, o, more, with_numpy, with_loops = case
    geometry = Geometry(in_shape, o, **{"kernel_size": (3, 3), "padding": SAME, **more})
    chosen = choose_path(geometry, backend)
    assert chosen == (with_numpy if backend == "numpy" else with_loops)
    assert can_take(chosen, geometry)


@pytest.mark.parametrize(
    ("in_shape", "outputs", "more", "with_loops"),
    [
        ((224, 224, 3), 16, {"stride": (2, 2)}, "direct"),
        ((32, 32, 3), 32, {}, "direct"),
        ((32, 32, 64), 256, {"kernel_size": (1, 1), "padding": (0, 0, 0, 0)}, "direct"),
        ((32, 32, 32), 32, {"groups": 32}, "direct"),
        ((32, 32, 32), 32, {}, "winograd"),
        ((32, 32, 3), 15, {}, "taps"),
        ((3, 5, 64), 64, {"kernel_size": (1, 1), "padding": (0, 0, 0, 0)}, "pointwise"),
    ],
)
def test_forward_in_training(
    in_shape: Shape, outputs: int, more: dict[str, Any], with_loops: Path
) -> None:
    """The backward pass takes the path of `choose_path`."""
    geometry = Geometry(in_shape, outputs, **{"kernel_size": (3, 3), "padding": SAME, **more})
    backends: tuple[Backend, ...] = "numpy", "fast"
    for backend in backends:
        path = choose_path(geometry, backend)
        taken = forward_path(path, geometry, backend)
        assert taken == (with_loops if backend == "fast" else path)
        arguments = {"kernel_size": (3, 3), "padding": SAME, **more}
        layer = Conv(in_shape, out_channels=outputs, **arguments).for_backend(backend)
        assert (layer.path, layer.forward_path) == (path, taken)


def test_the_layer_says_its_path() -> None:
    arguments: dict[str, Any] = {"out_channels": 8, "kernel_size": (3, 3), "padding": (1, 1)}
    assert Conv((32, 32, 8), **arguments).path == "im2col"
    assert Conv((32, 32, 8), **arguments).prepared is None
    fast = Conv((32, 32, 8), backend="fast", **arguments)
    assert (fast.path, fast.prepared) == ("winograd", (2, 36, 8, 8))
    assert Conv((32, 32, 8), backend="fast", path="taps", **arguments).path == "taps"
