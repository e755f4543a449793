"""Convolution for prediction: its loops, compiled and not, and the networks that take it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, random_input

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.context import Workspace
from cnn_cli.nn.fuse import predicting_graph
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels import direct, fast
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.im2col import pad
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.kernels.loops.activation import NONE, RELU, RELU6
from cnn_cli.nn.kernels.loops.conv import conv_forward
from cnn_cli.nn.kernels.paths import Backend, can_take, choose_path, packed_shape, predicting_path
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array, Shape


@pytest.fixture(params=["numpy", "loops", "fast"])
def kernels(request: pytest.FixtureRequest, backend: Callable[[str], Kernels]) -> Kernels:
    return backend(request.param)


CASES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "pointwise": ((3, 3, 5), {"kernel_size": (1, 1)}),
    "one pixel": ((1, 1, 7), {"kernel_size": (1, 1), "out_channels": 33}),
    "first, strided": ((9, 8, 3), {"stride": (2, 2)}),
    "padded": ((4, 5, 2), {"padding": (1, 1, 1, 1), "out_channels": 24}),
    "four sides": ((4, 5, 2), {"padding": (0, 1, 2, 0), "stride": (1, 2)}),
    "rows apart": ((7, 4, 2), {"dilation": (2, 1), "kernel_size": (3, 2)}),
    "depthwise": ((4, 5, 16), {"groups": 16, "padding": (1, 1, 1, 1)}),
    "depthwise, channels left": ((4, 9, 21), {"groups": 21, "padding": (1, 1, 1, 1)}),
    "depthwise, strided": ((9, 8, 16), {"groups": 16, "stride": (2, 3), "padding": (0, 1, 0, 1)}),
    "depthwise, apart": ((7, 8, 16), {"groups": 16, "dilation": (2, 3), "padding": (3, 3, 3, 3)}),
    "depthwise, beyond": ((2, 2, 16), {"groups": 16, "padding": (4, 4, 4, 4)}),
    "depthwise, cropped": ((7, 8, 16), {"groups": 16, "padding": (-1, -1, -2, -1)}),
    "depthwise, without padding": ((4, 9, 16), {"groups": 16}),
}


def halves(count: int, act: Callable[[int, int], None]) -> None:
    """As two threads share work; the second part comes first."""
    act(count // 2, count)
    act(0, count // 2)


def compute(
    kernels: Kernels, x: Array, weight: Array, bias: Array, geometry: Geometry, activation: int
) -> Array:
    y = np.full((len(x), *geometry.out_size, geometry.out_channels), np.nan, x.dtype)
    workspace = Workspace()

    def scratch(name: str, shape: Shape, dtype: Any = x.dtype, /) -> Array:
        return workspace.scratch(name, shape, dtype)

    if geometry.depthwise:
        kernels.direct_depthwise(x, weight, bias, geometry, activation, scratch, halves, y)
        return y
    padded = np.empty((len(x), *geometry.padded_size, x.shape[3]), x.dtype)
    pad(x, geometry.start, padded)
    packed = np.empty(packed_shape(weight.shape), x.dtype)
    direct.pack(weight, packed)
    kernels.direct_forward(padded, packed, bias, geometry, activation, scratch, halves, y)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_is_the_definition(
    kernels: Kernels, case: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "LEAST_SHARED", 0)
    in_shape, more = CASES[case]
    wide = {"out_channels": in_shape[2]} if "groups" in more else {"out_channels": 16}
    geometry = Geometry(in_shape, **{"kernel_size": (3, 3), **wide, **more})
    assert can_take("direct", geometry)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *in_shape)).astype(dtype)
    weight = rng.standard_normal(geometry.weight_shape).astype(dtype)
    bias = rng.standard_normal(geometry.out_channels).astype(dtype)
    exact = np.empty((2, *geometry.out_size, geometry.out_channels))
    exact[...] = bias
    conv_forward(
        x.astype(np.float64),
        weight.astype(np.float64),
        geometry.start,
        geometry.stride,
        geometry.dilation,
        exact,
    )
    for activation, low, high in ((NONE, -inf, inf), (RELU, 0, inf), (RELU6, 0, 6)):
        y = compute(kernels, x, weight, bias, geometry, activation)
        assert y.dtype == dtype
        limit = 100 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(y, np.clip(exact, low, high), rtol=limit, atol=limit)


@pytest.mark.parametrize(
    "more",
    [
        {"kernel_size": (3, 3), "stride": (2, 2)},
        {"kernel_size": (3, 3), "padding": (1, 1), "dilation": (2, 1), "bias": False},
        {"kernel_size": (1, 1), "out_channels": 33},
        {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 1), "padding_mode": "reflect"},
        {"kernel_size": (3, 3), "padding": (1, 1), "groups": 16},
    ],
)
def test_gradients_of_another_backward_path(more: dict[str, Any]) -> None:
    """In training, `direct` computes the output, and the gradients are those of `path`."""
    in_shape = (9, 10, more.get("groups", 2))
    layer = Conv(in_shape, backend="fast", **{"out_channels": 16, **more})
    assert (layer.forward_path, layer.path == "direct") == ("direct", False)
    gradcheck(layer, random_input(layer, 2, seed=3), seed=3)


@pytest.mark.parametrize("case", ["padded", "depthwise"])
def test_nan_stays(kernels: Kernels, case: str) -> None:
    in_shape, more = CASES[case]
    wide = {"out_channels": in_shape[2]} if "groups" in more else {}
    geometry = Geometry(in_shape, **{"kernel_size": (3, 3), **wide, **more})
    x = np.zeros((1, *in_shape), np.float32)
    x[0, 0, 0, 0] = np.nan
    weight = np.ones(geometry.weight_shape, np.float32)
    bias = np.zeros(geometry.out_channels, np.float32)
    y = compute(kernels, x, weight, bias, geometry, RELU6)
    assert np.argwhere(np.isnan(y[0, ..., 0])).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("in_shape", "more", "path"),
    [
        ((32, 32, 64), {"kernel_size": (1, 1), "out_channels": 256}, "direct"),
        ((224, 224, 3), {"stride": (2, 2), "out_channels": 16}, "direct"),
        ((224, 224, 3), {"stride": (2, 2), "out_channels": 15}, "im2col"),
        ((32, 32, 32), {"groups": 32, "out_channels": 32}, "direct"),
        ((32, 32, 32), {"groups": 32, "out_channels": 64}, "depthwise"),
        ((32, 32, 32), {"groups": 2, "out_channels": 32}, "im2col"),
        ((32, 32, 32), {"dilation": (1, 2), "out_channels": 32}, "im2col"),
        ((32, 32, 32), {"out_channels": 32}, "winograd"),
    ],
)
def test_path_of_prediction(in_shape: Shape, more: dict[str, Any], path: str) -> None:
    geometry = Geometry(in_shape, **{"kernel_size": (3, 3), **more})
    backends: tuple[Backend, ...] = "numpy", "fast"
    for backend in backends:
        training = choose_path(geometry, backend)
        predicting = predicting_path(training, geometry, backend)
        assert predicting == (path if backend == "fast" else training)


def conv(out_channels: int, kernel_size: int, **more: Any) -> dict[str, Any]:
    return {"conv": {"out_channels": out_channels, "kernel_size": kernel_size, **more}}


LAYERS: list[Any] = [
    conv(16, 3, stride=2, padding=1, bias=False),
    "batchnorm",
    "relu6",
    {
        "residual": {
            "layers": [
                conv(40, 1),
                "relu6",
                conv(40, 3, groups=40, padding="same", bias=False),
                "batchnorm",
                "relu",
                conv(16, 1, bias=False),
            ]
        }
    },
    conv(24, 3, stride=2),
    "gelu",
    conv(20, 3, padding=1, padding_mode="reflect"),
    {"linear": 24},
    "relu",
    {"linear": "classes"},
]


def network() -> Graph:
    config = validate_config({"model": {"layers": LAYERS}}, "x")
    return build_graph(config.model, (13, 11, 3), 4, "x")


def test_clamps_go_to_the_convolution_whose_only_reader_they_are() -> None:
    graph = network()
    kinds = [node.layer.kind for node in graph.nodes]
    fused = predicting_graph(graph, "fast")
    found = {
        node.name: (node.layer.path, node.layer.activation)
        for node in fused.nodes
        if isinstance(node.layer, Conv)
    }
    assert found == {
        "layers.0": ("direct", NONE),  # the normalization is folded before
        "layers.3.layers.0": ("direct", RELU6),
        "layers.3.layers.2": ("direct", NONE),
        "layers.3.layers.5": ("direct", NONE),
        "layers.4": ("direct", NONE),
        "layers.6": ("direct", NONE),
    }
    assert [node.layer.kind for node in graph.nodes] == kinds, "the graph was changed"
    plain = predicting_graph(graph, "numpy")
    assert all(node.layer.path != "direct" for node in plain.nodes)


@pytest.mark.parametrize("name", ["loops", "fast"])
def test_predicts_what_numpy_does(backend: Callable[[str], Kernels], name: str) -> None:
    graph = network()
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    x = np.random.default_rng(1).standard_normal((5, 13, 11, 3)).astype(np.float32)
    with TrainingEngine(graph, params, kernels=backend("numpy")) as engine:
        expected = engine.predict(x).copy()
    with TrainingEngine(graph, params, kernels=backend(name)) as engine:
        found = engine.predict(x).copy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        for number, image in enumerate(x):
            alone = engine.predict(image[np.newaxis])[0]
            np.testing.assert_allclose(alone, found[number], rtol=1e-5, atol=1e-6)
        params.flat *= 1.5
        params.touch()
        assert not np.allclose(engine.predict(x), found), "weights packed before are used"
    params.flat /= 1.5
    with TrainingEngine(graph, params, threads=2, kernels=backend(name)) as engine:
        params.touch()
        np.testing.assert_allclose(engine.predict(x), found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["numpy", "fast"])
def test_a_single_image_has_all_threads(
    backend: Callable[[str], Kernels], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer's work is cut for them, or BLAS has their cores."""
    monkeypatch.setattr(fast, "LEAST_SHARED", 0)
    graph = network()
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    image = np.random.default_rng(1).standard_normal((1, 13, 11, 3)).astype(np.float32)
    parts: list[tuple[int, int]] = []
    with TrainingEngine(graph, params, threads=3, kernels=backend(name)) as engine:
        share = engine._team.share

        def count(count: int, act: Callable[[int, int], None]) -> None:
            def counted(first: int, end: int) -> None:
                parts.append((first, end))
                act(first, end)

            share(count, counted)

        engine._team.share = count  # type: ignore[method-assign]  # to see its parts
        several = engine.predict(image).copy()
    assert bool(parts) == (name == "fast")
    with TrainingEngine(graph, params, kernels=backend(name)) as engine:
        np.testing.assert_allclose(several, engine.predict(image), rtol=1e-5, atol=1e-6)


def test_trains_as_numpy_does(backend: Callable[[str], Kernels]) -> None:
    graph = network()
    x = np.random.default_rng(1).standard_normal((6, 13, 11, 3)).astype(np.float32)
    targets, divisor = target_weights(np.arange(6) % 4, 4)
    losses, gradients = [], []
    for name in ("numpy", "loops"):
        params = Parameters(graph, "float32")
        initialize(params, 0, "pytorch")
        with TrainingEngine(graph, params, threads=2, kernels=backend(name)) as engine:
            losses.append(engine.train_step(x, targets, divisor)[0])
            gradients.append(engine.gradient.copy())
            params.flat *= 1.25
            params.touch()
            losses.append(engine.train_step(x, targets, divisor)[0])
    np.testing.assert_allclose(losses[2:], losses[:2], rtol=1e-5)
    limit = 1e-4 * float(np.abs(gradients[0]).max())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0, atol=limit)
