"""Frozen layers: no backward pass below them, and unchanged gradients above."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn import gradients
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.fast import LoopKernels
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import frozen_prefix, plan_segments, requires_grad
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import freeze_graph
from cnn_cli.structs import replace

CONV = {"conv": {"out_channels": 6, "kernel_size": 3, "padding": 1}}
LAYERS: list[Any] = [
    CONV,
    "batchnorm",
    "relu",
    {"maxpool": 2},
    {"residual": {"layers": [CONV, "batchnorm", "relu", CONV, "batchnorm"]}},
    "relu",
    {"residual": {"layers": [CONV, "batchnorm"], "shortcut": [CONV]}},
    {"dropout": 0.3},
    {"residual": {"layers": [CONV], "drop_path": 0.5}},
    "global_avgpool",
    {"linear": {"out_features": 5, "name": "neck"}},
    "relu",
    {"linear": {"out_features": "classes", "name": "head"}},
]
KERNELS = pytest.mark.parametrize("kernels", [NUMPY, LoopKernels()], ids=["numpy", "loops"])
# What is frozen, and the name of the last layer with constant outputs.
FROZEN = {
    "nothing": ([], None),
    "the first convolution": (["layers.0.*"], "layers.0"),
    "the stem": (["layers.0.*", "layers.1.*"], "layers.3"),
    "a branch in between": (["layers.4.*"], None),
    "half of a residual": (["layers.[014].*", "layers.6.shortcut.*"], "layers.5"),
    "all but the head": (["conv.*", "batchnorm.*", "neck.*"], "layers.6"),
    "everything": (["*"], "layers.6"),
}


def network(patterns: list[str]) -> tuple[Graph, Graph]:
    """Return the whole graph, and the one with frozen layers."""
    document = {"model": {"layers": LAYERS}, "train": {"freeze": patterns, "dtype": "float64"}}
    config = validate_config(document, "x")
    graph = build_graph(config.model, (8, 8, 3), 4, "x")
    return graph, freeze_graph(graph, config.train.rules, 0)


def parameters(graph: Graph, dtype: str = "float64") -> Parameters:
    params = Parameters(graph, dtype)
    initialize(params, 0, "kaiming")
    params.flat_buffers += 0.1
    return params


def data(n: int = 7) -> tuple[Array, Array, float]:
    rng = np.random.default_rng(1)
    targets, divisor = target_weights(rng.integers(0, 4, n), 4, dtype=np.float64)
    return rng.standard_normal((n, 8, 8, 3)), targets, divisor


@pytest.mark.parametrize("name", FROZEN)
def test_the_last_layer_that_is_the_same_in_every_step(name: str) -> None:
    patterns, expected = FROZEN[name]
    _, graph = network(patterns)
    node = frozen_prefix(graph)
    assert (None if node == IMAGE else graph.nodes[node].name) == expected


@KERNELS
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FROZEN)
def test_what_moves_has_the_gradient_it_had(name: str, threads: int, kernels: Kernels) -> None:
    _, partly = network(FROZEN[name][0])
    # The same batchnorms frozen, but a backward pass for every layer.
    whole = replace(partly, frozen=frozenset())
    x, targets, divisor = data()
    found = []
    for graph in (whole, partly):
        with TrainingEngine(graph, parameters(graph), threads=threads, kernels=kernels) as engine:
            loss, logits = engine.train_step(x, targets, divisor, step=3)
            first = engine.gradient.copy()
            held = engine.nbytes
            engine.train_step(x, targets, divisor, step=3)
            np.testing.assert_array_equal(engine.gradient, first)
            assert engine.nbytes == held
            found.append((loss, logits.copy(), engine.gradient_views))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    for node in partly.nodes:
        for key, expected in found[0][2][node.index].items():
            if node.index not in partly.frozen:
                np.testing.assert_array_equal(found[1][2][node.index][key], expected)


def test_nothing_goes_back_below_the_lowest_layer_that_moves() -> None:
    _, graph = network(["layers.[01].*", "layers.4.*"])
    moving = requires_grad(graph)
    names = [graph.nodes[index].name for index in sorted(moving)]
    assert names[0] == "layers.6.layers.0"
    steps = [step for each in plan_segments(graph, training=True) for step in each.steps]
    assert {step.node.index for step in steps if step.has_backward} == moving
    lowest = [
        step for step in steps if step.node.name.startswith("layers.6.") and not step.requires_grad
    ]
    assert {step.node.name for step in lowest} == {"layers.6.layers.0", "layers.6.shortcut.0"}


@KERNELS
@pytest.mark.parametrize("name", ["the stem", "half of a residual", "all but the head"])
def test_beginning_with_features_gives_the_same_gradient(name: str, kernels: Kernels) -> None:
    _, graph = network(FROZEN[name][0])
    node = frozen_prefix(graph)
    x, targets, divisor = data()
    params = parameters(graph)
    with TrainingEngine(graph, params, kernels=kernels) as engine:
        expected, _ = engine.train_step(x, targets, divisor, step=3)
        gradient = engine.gradient.copy()
        features = engine.features(node)(x)
    assert features.shape == (7, *graph.shape(node))
    with TrainingEngine(graph, params, threads=2, kernels=kernels, entry=node) as engine:
        loss, _ = engine.train_step(features, targets, divisor, step=3)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        views, whole = engine.gradient_views, params.empty_like()
        whole[0][:] = gradient
        for each in graph.nodes:
            if each.index > node and each.index not in graph.frozen:
                for key, value in views[each.index].items():
                    np.testing.assert_allclose(value, whole[1][each.index][key], atol=1e-12)
        # Prediction still takes images.
        assert engine.predict(x).shape == (7, 4)


def test_a_step_on_features_leaves_out_the_layers_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither prepares their weights nor adds up their gradients."""
    _, graph = network(FROZEN["all but the head"][0])
    node = frozen_prefix(graph)
    checked: list[int] = []

    def prepare(*_: object) -> None:
        raise AssertionError("every convolution is below the features")

    def is_finite(flat: Array) -> bool:
        checked.append(flat.size)
        return True

    monkeypatch.setattr(Conv, "prepare", prepare)
    monkeypatch.setattr(gradients, "is_finite", is_finite)
    _, targets, divisor = data()
    params = parameters(graph)
    with TrainingEngine(graph, params, entry=node, kernels=LoopKernels()) as engine:
        engine.train_step(np.ones((7, *graph.shape(node))), targets, divisor)
    head = len(graph.nodes) - 1
    places = [place for each, _, place in params.parts() if each.index == head]
    assert sum(checked) == sum(place.stop - place.start for place in places)


# The same cuts of the evaluation network, in which batchnorms are part of the convolutions.
HALVES = FROZEN | {"the first convolution": (["layers.0.*"], None)}


@KERNELS
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", HALVES)
def test_two_halves_score_with_the_same_bits(name: str, threads: int, kernels: Kernels) -> None:
    patterns, last = HALVES[name]
    _, graph = network(patterns)
    params = parameters(graph, "float32")
    with TrainingEngine(graph, params, threads=threads, kernels=kernels) as engine:
        halves = engine.halves()
        assert (halves is None) == (last is None)
        if halves is None:
            return
        for n in (1, 2, 7):
            x = data(n)[0].astype(np.float32)
            features = halves.lower(x)
            kept = features.copy()
            for _ in range(2):
                logits = halves.upper(features).copy()
                np.testing.assert_array_equal(features, kept)
                np.testing.assert_array_equal(logits, engine.predict(x))
                for node in graph.nodes:
                    if node.index not in graph.frozen:
                        for view in params.views[node.index].values():
                            view[...] = 1.1 * view
                params.touch()
