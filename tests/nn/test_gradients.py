"""The workers' gradients: their sum, and whether it is finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn import gradients
from cnn_cli.nn.gradients import Gradients, is_finite
from cnn_cli.nn.init import initialize
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import plan_segments
from cnn_cli.nn.team import Team
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array

BADS = (np.nan, np.inf, -np.inf)
LAYERS: list[Any] = [
    {"conv": {"out_channels": 32, "kernel_size": 3, "padding": 1}},
    "batchnorm",
    {"conv": {"out_channels": 32, "kernel_size": 3, "padding": 1}},  # takes the Winograd path
    {"groupnorm": 4},
    {"linear": 300},
    {"linear": "classes"},
]


@contextmanager
def opened(threads: int) -> Iterator[Gradients]:
    """Gradient accumulators of a network with every kind of layer that has parameters."""
    model = validate_config({"model": {"layers": LAYERS}}, "x").model
    graph = build_graph(model, (16, 16, 3), 4, "x")
    team = Team(threads)
    try:
        segments = plan_segments(graph, training=True)
        yield Gradients(graph, Parameters(graph, "float32"), team, segments)
    finally:
        team.close()


def accumulators(sums: Gradients, worker: int) -> list[Array]:
    """Return all accumulators of a worker."""
    prepared = sums.prepared[worker]
    plain = [
        view
        for index, views in enumerate(sums.views[worker])
        for name, view in views.items()
        if not (index in prepared and name == "weight")
    ]
    return plain + list(prepared.values())


def refill(sums: Gradients, number: float = 1.0) -> None:
    """Fill in what the workers would leave after a step."""
    for worker in range(len(sums.flat)):
        for array in accumulators(sums, worker):
            array.fill(number)


@np.errstate(all="ignore")
def test_the_check_of_an_array() -> None:
    for size in (1, 1000):
        flat = np.ones(size, np.float32)
        assert is_finite(flat)
        flat[0] = 3e38  # its square overflows
        assert is_finite(flat)
        for bad in BADS:
            flat[-1] = bad
            assert not is_finite(flat)
    assert is_finite(np.empty(0, np.float32))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_bad_number_anywhere_is_noticed(threads: int) -> None:
    """First, last and in the middle of any worker's gradient; the next step is good again."""
    with opened(threads) as sums:
        assert sums.prepared[0], "no layer took the Winograd path"
        refill(sums)
        sums.reduce(threads)
        assert sums.finite
        for worker in range(threads):
            for which in range(len(accumulators(sums, worker))):
                for bad, place in zip(BADS, (0.0, 0.5, 1.0), strict=True):
                    refill(sums)
                    array = accumulators(sums, worker)[which].reshape(-1)
                    array[int(place * (array.size - 1))] = bad
                    sums.reduce(threads)
                    assert not sums.finite, (worker, which, bad)
        refill(sums)
        sums.reduce(threads)
        assert sums.finite


@pytest.mark.parametrize("busy", [1, 2])
def test_only_workers_that_had_a_chunk_count(busy: int) -> None:
    """An idle one holds values of an earlier step."""
    with opened(2) as sums:
        refill(sums)
        for array in accumulators(sums, 1):
            array.fill(np.nan)
        sums.reduce(busy)
        assert sums.finite == (busy == 1)


def test_sums_that_overflow_are_noticed() -> None:
    with opened(2) as sums:
        refill(sums, 3e38)
        with np.errstate(all="ignore"):
            sums.reduce(2)
        assert not sums.finite


def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for block in (gradients.BLOCK, 7, 10**9):
        monkeypatch.setattr(gradients, "BLOCK", block)
        with opened(3) as sums:
            rng = np.random.default_rng(0)
            for worker in range(3):
                for array in accumulators(sums, worker):
                    array[...] = rng.standard_normal(array.shape)
            sums.reduce(3)
            found.append(sums.flat[0].copy())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_engine_says_so() -> None:
    """A gradient that overflows although the loss does not, and the following step."""
    model = validate_config({"model": {"layers": [{"linear": "classes"}]}}, "x").model
    graph = build_graph(model, (4, 4, 1), 3, "x")
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    params.flat *= 1e-38
    targets, divisor = target_weights(np.array([0, 1]), 3)
    with TrainingEngine(graph, params, threads=2) as engine:
        for size, finite in ((1.0, True), (3e38, False), (1.0, True)):
            x = np.full((2, 4, 4, 1), size, np.float32)
            loss, _ = engine.train_step(x, targets, divisor / 4)
            assert np.isfinite(loss)
            assert engine.gradient_is_finite == finite
