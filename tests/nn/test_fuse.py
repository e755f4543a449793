"""Normalization and activation in one pass: the same names, memory and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.fuse import choose_paths, fuse_graph, fuse_pools, kernel_kinds
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.kernels.loops.activation import GELU, NONE, RELU, SILU
from cnn_cli.nn.layers.batchnorm import BatchNorm
from cnn_cli.nn.layers.groupnorm import GroupNorm
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array

CONV = {"conv": {"out_channels": 6, "kernel_size": 3, "padding": 1}}
LAYERS: list[Any] = [
    CONV,
    "batchnorm",
    "relu",
    {"residual": {"layers": [CONV, "batchnorm", "gelu", CONV, "batchnorm"]}},
    "relu",
    {"branches": [[CONV, {"groupnorm": 3}, "silu"], [CONV, "batchnorm", {"leaky_relu": 0.1}], []]},
    "batchnorm",
    {"dropout": 0.3},
    "global_avgpool",
    "batchnorm",
    "silu",
    {"linear": "classes"},
]


def network(layers: list[Any] = LAYERS) -> Graph:
    config = validate_config({"model": {"layers": layers}}, "x")
    return build_graph(config.model, (8, 8, 3), 4, "x")


def test_an_activation_goes_to_the_normalization_whose_only_reader_it_is() -> None:
    graph = network()
    kinds = [(node.name, node.layer.kind) for node in graph.nodes]
    fused = fuse_graph(graph)
    activations = {
        node.name: node.layer.activation
        for node in fused.nodes
        if isinstance(node.layer, BatchNorm | GroupNorm)
    }
    assert activations == {
        "layers.1": RELU,
        "layers.3.layers.1": GELU,
        "layers.3.layers.4": NONE,  # read by the sum
        "layers.5.0.1": SILU,
        "layers.5.1.1": NONE,  # read by a leaky ReLU
        "layers.6": NONE,
        "layers.9": SILU,
    }
    identities = [node.name for node in fused.nodes if node.layer.kind == "identity"]
    assert identities == ["layers.2", "layers.3.layers.2", "layers.5.0.2", "layers.10"]
    assert [(node.name, node.inputs) for node in fused.nodes] == [
        (node.name, node.inputs) for node in graph.nodes
    ]
    assert [(node.name, node.layer.kind) for node in graph.nodes] == kinds
    for node in graph.nodes:
        assert getattr(node.layer, "activation", NONE) == NONE, "the graph was changed"


def test_what_two_layers_read_stays_as_it_is() -> None:
    graph = network(
        [CONV, "batchnorm", {"residual": {"layers": ["relu"]}}, "flatten", {"linear": "classes"}]
    )
    assert [node.layer for node in fuse_graph(graph).nodes] == [n.layer for n in graph.nodes]


def test_an_activation_of_the_image_stays() -> None:
    graph = network(["relu", "flatten", {"linear": "classes"}])
    assert [node.layer.kind for node in fuse_graph(graph).nodes] == ["relu", "flatten", "linear"]


POOLED: list[Any] = [
    CONV,
    "relu",
    {"maxpool": {"kernel_size": 3, "stride": 2, "padding": 1}},
    {"residual": {"layers": ["relu", {"maxpool": {"kernel_size": 1}}]}},
    {"leaky_relu": 0.1},
    {"maxpool": 2},
    {"linear": "classes"},
]


def test_a_relu_goes_to_the_pooling_whose_only_reader_it_is() -> None:
    graph = network(POOLED)
    fused = fuse_pools(graph)
    activations = {
        node.name: node.layer.activation for node in fused.nodes if isinstance(node.layer, MaxPool)
    }
    assert activations == {"layers.2": RELU, "layers.3.layers.1": RELU, "layers.5": NONE}
    kinds = [node.layer.kind for node in fused.nodes]
    assert kinds == [
        "conv",
        "identity",
        "maxpool",
        "identity",
        "maxpool",
        "add",
        "leaky_relu",
        "maxpool",
        "linear",
    ]
    assert all(getattr(node.layer, "activation", NONE) == NONE for node in graph.nodes)


@pytest.mark.parametrize("reads", ["the image", "two readers"])
def test_a_relu_stays_where_it_is_needed(reads: str) -> None:
    pool = {"maxpool": {"kernel_size": 1}}
    layers = (
        ["relu", pool] if reads == "the image" else [CONV, "relu", {"residual": {"layers": [pool]}}]
    )
    graph = network([*layers, {"linear": "classes"}])
    assert [n.layer for n in fuse_pools(graph).nodes] == [n.layer for n in graph.nodes]


def test_pooling_before_a_relu_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).standard_normal((5, 8, 8, 3)).astype(np.float32)
    targets, divisor = target_weights(np.arange(5) % 4, 4)
    results = []
    for fuse in (fuse_pools, lambda graph: graph):
        monkeypatch.setattr("cnn_cli.nn.fuse.fuse_pools", fuse)
        graph = network(POOLED)
        params = Parameters(graph, "float32")
        initialize(params, 0, "pytorch")
        with TrainingEngine(graph, params, threads=2) as engine:
            loss, _ = engine.train_step(x, targets, divisor)
            results.append([loss, engine.gradient.copy(), engine.predict(x).copy()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_paths_for_compiled_kernels() -> None:
    wide = {"conv": {"out_channels": 16, "kernel_size": 3, "padding": 1}}
    narrow = {"conv": {"out_channels": 9, "kernel_size": 3, "padding": 1}}
    graph = network([wide, narrow, "relu", "flatten", {"linear": "classes"}])
    paths = [node.layer.path for node in graph.nodes[:2]]
    assert paths == ["im2col", "im2col"]
    there = choose_paths(graph, "fast")
    assert [node.layer.path for node in there.nodes[:2]] == ["im2col", "winograd"]
    assert there.nodes[1].layer.prepared == (2, 36, 16, 9)
    assert [node.layer.path for node in graph.nodes[:2]] == paths, "the graph was changed"
    back = choose_paths(there, "numpy")
    assert [(node.layer.path, node.layer.prepared) for node in back.nodes[:2]] == [
        ("im2col", None),
        ("im2col", None),
    ]
    expected = {"conv", "im2col", "direct", "winograd", "relu", "flatten", "linear"}
    assert kernel_kinds(graph) == expected


def train(kernels: Kernels, dtype: str, threads: int = 2) -> tuple[list[Any], list[int]]:
    """Return the results of three steps, and the memory held after each."""
    graph = network()
    params = Parameters(graph, dtype)
    initialize(params, 0, "pytorch")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((7, 8, 8, 3)).astype(dtype)
    targets, divisor = target_weights(rng.integers(0, 4, 7), 4, dtype=dtype)
    results: list[Any] = []
    held = []
    with TrainingEngine(graph, params, threads=threads, seed=3, kernels=kernels) as engine:
        for step in range(3):
            loss, logits = engine.train_step(x, targets, divisor, step=step)
            results += [loss, logits.copy(), engine.gradient.copy(), params.flat_buffers.copy()]
            params.flat -= 0.05 * engine.gradient
            params.touch()
            held.append(engine.nbytes)
        results.append(engine.predict(x).copy())
    return results, held


@pytest.mark.parametrize("name", ["loops", "fast"])
def test_training_is_that_of_numpy(backend: Callable[[str], Kernels], name: str) -> None:
    expected, _ = train(backend("numpy"), "float64")
    for threads in (1, 2):
        results, held = train(backend(name), "float64", threads)
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
        assert held[1] == held[2], "a later step allocates"


def test_float32_training_stays_close(backend: Callable[[str], Kernels]) -> None:
    exact, _ = train(backend("numpy"), "float64")
    for ours, theirs in zip(train(backend("fast"), "float32")[0], exact, strict=True):
        limit = 1e-4 * float(np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=limit)


def test_the_same_bits_every_time(backend: Callable[[str], Kernels]) -> None:
    first, second = (train(backend("fast"), "float32")[0] for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fusing_takes_less_memory(backend: Callable[[str], Kernels]) -> None:
    layers = [CONV, "batchnorm", "gelu", CONV, "batchnorm", "gelu", {"linear": "classes"}]
    held = []
    for kernels in (backend("numpy"), backend("fast")):
        graph = network(layers)
        params = Parameters(graph, "float32")
        x: Array = np.zeros((64, 8, 8, 3), np.float32)
        targets, divisor = target_weights(np.zeros(64, np.int64), 4)
        with TrainingEngine(graph, params, kernels=kernels) as engine:
            engine.train_step(x, targets, divisor)
            held.append(engine.nbytes)
    assert held[1] < 0.85 * held[0]
