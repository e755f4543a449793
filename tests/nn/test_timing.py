"""Timed layers compute the same results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stubs import Stub, stub_graph

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.layers.batch import BatchLayer
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.timing import BACKWARD, FORWARD, timed
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array

NETWORK: list[Any] = [
    {"conv": {"out_channels": 5, "kernel_size": 3, "padding": 1}},
    "batchnorm",
    "relu",
    {"residual": {"layers": [{"conv": {"out_channels": 5, "kernel_size": 1}}, "batchnorm"]}},
    {"dropout": 0.2},
    {"linear": "classes"},
]


class Clock:
    """A clock that advances only on request."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_all_of_a_layers_work_counts(part: str) -> None:
    clock = Clock()
    names = FORWARD if part == "forward" else BACKWARD

    def working(name: str) -> Any:
        def method(self: Stub, *arguments: object) -> str:
            clock.now += 2.0 ** names.index(name)
            return name

        return method

    kind: Any = type("Working", (Stub,), {name: working(name) for name in names})
    graph, times = timed(stub_graph(idle=Stub(), busy=kind()), clock)
    layer: Any = graph.nodes[1].layer
    for name in names:
        assert getattr(layer, name)(1, 2) == name
    assert getattr(times[1], part) == 2.0 ** len(names) - 1
    assert [time.forward + time.backward for time in times] == [0, 2.0 ** len(names) - 1]


def test_every_method_that_the_engine_calls_is_timed() -> None:
    methods = {name for name, value in vars(BatchLayer).items() if callable(value)}
    public = {name for name in methods if not name.startswith("_")}
    assert public <= {*FORWARD, *BACKWARD}


def step(graph: Graph) -> tuple[float, Array, Array]:
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 6, 6, 3)).astype(np.float32)
    targets, divisor = target_weights(rng.integers(0, 4, 7), 4)
    with TrainingEngine(graph, params) as engine:
        loss, _ = engine.train_step(x, targets, divisor)
        return loss, engine.gradient.copy(), engine.predict(x).copy()


def test_the_bits_are_the_same() -> None:
    config = validate_config({"model": {"layers": NETWORK}}, "c")
    graph = build_graph(config.model, (6, 6, 3), 4, "c")
    with_times, times = timed(graph)
    for ours, theirs in zip(step(with_times), step(graph), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(time.forward > 0 and time.backward > 0 for time in times)
