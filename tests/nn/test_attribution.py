"""Gradients of scores with respect to a layer's output, against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.structs import replace

CONV = {"conv": {"out_channels": 6, "kernel_size": 3, "padding": 1}}
# Smooth, since finite differences fail at kinks. With batchnorms that are folded in evaluation and
# others, skips around explained layers, and dropout.
LAYERS: list[Any] = [
    CONV,
    "batchnorm",
    "silu",
    {"avgpool": 2},
    {"residual": {"layers": ["batchnorm", "gelu", CONV, "batchnorm"]}},
    {"branches": [[CONV, {"groupnorm": 3}, "silu"], [CONV, "batchnorm"], []]},
    {"squeeze_excite": {"squeeze_channels": 3, "activation": "silu"}},
    {"dropout": 0.5},
    "batchnorm",
    "global_avgpool",
    {"linear": 5},
    "silu",
    {"linear": "classes"},
]
ASKED = (
    "layers.0",
    "layers.1",
    "layers.2",
    "layers.4.layers.1",
    "layers.4.layers.2",
    "layers.4",
    "layers.5.1.1",
    "layers.5",
    "layers.6",
    "layers.7",
    "layers.8",
)
KINKED: list[Any] = [CONV, "batchnorm", "relu", {"maxpool": 2}, CONV, "relu", {"linear": "classes"}]
H = 1e-5


def network(layers: list[Any] = LAYERS, dtype: str = "float64") -> tuple[Graph, Parameters]:
    """Return a network with nontrivial running statistics."""
    config = validate_config({"model": {"layers": layers}}, "x")
    graph = build_graph(config.model, (8, 8, 3), 4, "x")
    params = Parameters(graph, dtype)
    initialize(params, 0, "pytorch")
    rng = np.random.default_rng(5)
    for node in graph.nodes:
        for buffer in params.buffer_views[node.index].values():
            buffer[...] = rng.uniform(0.5, 1.5, buffer.shape)
    params.touch()
    return graph, params


def images(n: int = 3, dtype: str = "float64") -> Array:
    return np.random.default_rng(1).standard_normal((n, 8, 8, 3)).astype(dtype)


def place(graph: Graph, name: str) -> int:
    return next(node.index for node in graph.nodes if node.name == name)


def moved(graph: Graph, node: int, by: Array) -> Graph:
    """Return the network with something added to a layer's output."""
    layer = graph.nodes[node].layer
    kind: Any = type(layer)

    def forward(self: Layer, x: Any, node: NodeContext, run: RunContext) -> tuple[Array, Any]:
        y, saved = kind.forward(self, x, node, run)
        return y + by[run.offset : run.offset + len(y)], saved

    moved_kind: type[Layer] = type(kind.__name__, (kind,), {"forward": forward})
    other = moved_kind.__new__(moved_kind)
    vars(other).update(vars(layer))
    nodes = list(graph.nodes)
    nodes[node] = replace(nodes[node], layer=other)
    return replace(graph, nodes=tuple(nodes))


def scores(graph: Graph, params: Parameters, node: int, by: Array, classes: Array) -> Array:
    """Return the scores (n,) with the layer's output shifted."""
    with TrainingEngine(moved(graph, node, by), params) as engine:
        found = engine.attribution(node)(images(), classes)
        return found.logits[np.arange(len(classes)), classes]


@pytest.mark.parametrize("name", ASKED)
def test_gradients_are_the_slopes_of_the_scores(name: str) -> None:
    graph, params = network()
    node, classes = place(graph, name), np.array([2, 0, 3])
    with TrainingEngine(graph, params, threads=2) as engine:
        found = engine.attribution(node)(images(), classes)
    shape = found.activations.shape
    assert shape == found.gradients.shape == (3, *graph.shape(node))
    rng = np.random.default_rng(2)
    for _ in range(4):  # one value of each image at a time
        by = np.zeros(shape)
        at = tuple(rng.integers(0, size, 3) for size in shape[1:])
        by[(np.arange(3), *at)] = H
        slope = scores(graph, params, node, by, classes) - scores(graph, params, node, -by, classes)
        exact = found.gradients[(np.arange(3), *at)]
        np.testing.assert_allclose(slope / (2 * H), exact, rtol=1e-5, atol=1e-9)


def test_a_branch_without_weights_beside_the_layer() -> None:
    """It has no backward pass."""
    beside = {"avgpool": {"kernel_size": 3, "stride": 1, "padding": 1}}
    layers = [{"branches": [[CONV], [beside, "silu"]]}, "global_avgpool", {"linear": "classes"}]
    graph, params = network(layers)
    with TrainingEngine(graph, params) as engine:
        found = engine.attribution(place(graph, "layers.0.0.0"))(images(), np.zeros(3, np.int64))
    slopes = params.named()["layers.2/weight"][0, :6] / 64  # of a mean of 64 pixels
    np.testing.assert_allclose(found.gradients, np.broadcast_to(slopes, (3, 8, 8, 6)), rtol=1e-12)


@pytest.mark.parametrize("layers", [LAYERS, KINKED])
@pytest.mark.parametrize("name", ["numpy", "fast"])
def test_the_network_is_the_one_that_predicts(
    backend: Callable[[str], Kernels], layers: list[Any], name: str
) -> None:
    """Folded and fused or not: the same scores, and the same gradients with every backend."""
    graph, params = network(layers)
    results = []
    for kernels in (backend("numpy"), backend(name)):
        with TrainingEngine(graph, params, threads=2, kernels=kernels) as engine:
            predicted = engine.predict(images()).copy()
            found = engine.attribution(0)(images())
            np.testing.assert_allclose(found.logits, predicted, rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(found.classes, predicted.argmax(axis=1))
            results.append(found)
    np.testing.assert_allclose(results[0].activations, results[1].activations, rtol=1e-9)
    np.testing.assert_allclose(results[0].gradients, results[1].gradients, rtol=1e-7, atol=1e-12)


def test_threads_and_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for threads, budget in [(1, 10**9), (3, 1)]:
        monkeypatch.setattr("cnn_cli.nn.engine.CHUNK_BYTES", budget)
        graph, params = network()
        with TrainingEngine(graph, params, threads=threads) as engine:
            results.append(engine.attribution(place(graph, "layers.4"))(images(7)))
    np.testing.assert_allclose(results[0].gradients, results[1].gradients, rtol=1e-9, atol=1e-14)
    np.testing.assert_array_equal(results[0].classes, results[1].classes)


def test_all_memory_comes_back_and_training_is_left_alone() -> None:
    graph, params = network()
    before = params.flat.copy(), params.flat_buffers.copy()
    with TrainingEngine(graph, params, threads=2) as engine:
        for name in ("layers.2", "layers.5.1.1", "layers.8"):
            attribution = engine.attribution(place(graph, name))
            held = []
            for _ in range(3):
                attribution(images(6))
                assert [workspace.in_use for workspace in engine.workspaces] == [0, 0]
                held.append(engine.nbytes)
            assert held[1] == held[2], "a later call allocates"
    np.testing.assert_array_equal(params.flat, before[0])
    np.testing.assert_array_equal(params.flat_buffers, before[1])


def test_changed_parameters_are_used() -> None:
    graph, params = network(KINKED, "float32")
    with TrainingEngine(graph, params) as engine:
        attribution = engine.attribution(4)
        first = attribution(images(2, "float32"))
        params.flat *= 2
        params.touch()
        second = attribution(images(2, "float32"))
        np.testing.assert_allclose(second.logits, engine.predict(images(2, "float32")), rtol=1e-4)
    assert np.abs(second.gradients).max() > 1.5 * np.abs(first.gradients).max()


def test_pixels_are_scaled_and_shifted() -> None:
    graph, params = network(KINKED)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    scale, shift = np.full(3, 1 / 64), np.full(3, -2.0)
    with TrainingEngine(graph, params, scale=scale, shift=shift) as engine:
        found = engine.attribution(5)(pixels)
        np.testing.assert_allclose(found.logits, engine.predict(pixels), rtol=1e-9)
