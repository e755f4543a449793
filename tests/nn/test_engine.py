"""The engine: chunks, threads, memory and bits."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn import plan
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Pass
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array

CONV = {"conv": {"out_channels": 6, "kernel_size": 3, "padding": 1}}
NETWORKS: dict[str, list[Any]] = {
    "one segment": [CONV, "relu", {"maxpool": 2}, {"dropout": 0.3}, {"linear": "classes"}],
    "batchnorm": [
        CONV,
        "batchnorm",
        "relu",
        {"residual": {"layers": [CONV, "batchnorm", "relu", CONV, "batchnorm"]}},
        "relu",
        {"branches": [[CONV, "batchnorm"], ["relu", CONV], []]},
        "silu",
        {"dropout": 0.2},
        "global_avgpool",
        {"linear": "classes"},
    ],
}


def network(name: str, dtype: str = "float64", size: int = 8) -> tuple[Graph, Parameters]:
    config = validate_config({"model": {"layers": NETWORKS[name]}}, name)
    graph = build_graph(config.model, (size, size, 3), 4, name)
    params = Parameters(graph, dtype)
    initialize(params, 0, "pytorch")
    return graph, params


def batch(n: int, dtype: str = "float64", size: int = 8) -> tuple[Array, Array, float]:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, size, size, 3)).astype(dtype)
    targets, divisor = target_weights(rng.integers(0, 4, n), 4, dtype=dtype)
    return x, targets, divisor


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("images", [1, 2, 5, 16])
def test_chunks_and_threads_change_rounding_only(
    name: str, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, targets, divisor = batch(images)
    results: list[tuple[Any, ...]] = []
    for threads, budget in [(1, 10**9), (1, 1), (2, 10**9), (3, 5000), (5, 1)]:
        monkeypatch.setattr("cnn_cli.nn.engine.CHUNK_BYTES", budget)
        graph, params = network(name)
        with TrainingEngine(graph, params, threads=threads, seed=7) as engine:
            losses = [engine.train_step(x, targets, divisor, step=step)[0] for step in range(3)]
            predicted = engine.predict(x).copy()
            results.append((losses, engine.gradient.copy(), params.flat_buffers, predicted))
    for other in results[1:]:
        for ours, first in zip(other, results[0], strict=True):
            np.testing.assert_allclose(ours, first, rtol=1e-9, atol=1e-12)


def test_a_single_image_has_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, params = network(next(iter(NETWORKS)))
    seen = []
    forward = Pass.forward

    def spy(self: Pass, *args: Any) -> None:
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        seen.append(max((pool["num_threads"] for pool in pools), default=0))
        forward(self, *args)

    x, _, _ = batch(4)
    with TrainingEngine(graph, params, threads=2) as engine:
        together = engine.predict(x).copy()
        monkeypatch.setattr(Pass, "forward", spy)
        alone = engine.predict(x[:1]).copy()
        engine.predict(x)
    assert seen[0] in (0, 2)
    assert set(seen[1:]) <= {0, 1}
    np.testing.assert_allclose(alone, together[:1], rtol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_bits_every_time(name: str) -> None:
    x, targets, divisor = batch(13, "float32")
    gradients = []
    for _ in range(3):
        graph, params = network(name, "float32")
        with TrainingEngine(graph, params, threads=3) as engine:
            for step in range(4):
                engine.train_step(x, targets, divisor, step=step)
            gradients.append((engine.gradient.tobytes(), params.flat_buffers.tobytes()))
    assert gradients[0] == gradients[1] == gradients[2]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_second_step_allocates_no_large_array(name: str) -> None:
    graph, params = network(name, "float32", size=48)
    x, targets, divisor = batch(64, "float32", size=48)
    with TrainingEngine(graph, params, threads=2) as engine:
        for step in range(2):
            engine.train_step(x, targets, divisor, step=step)
            engine.predict(x)
        gc.collect()
        held = engine.nbytes
        tracemalloc.start()
        try:
            engine.train_step(x, targets, divisor, step=2)
            engine.predict(x)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert engine.nbytes == held
    # One activation of a convolution takes 3.5 MB; Python objects and small vectors far less.
    assert peak < 200_000


@pytest.mark.parametrize("name", NETWORKS)
def test_every_taken_array_is_given_back(name: str) -> None:
    graph, params = network(name, "float32")
    x, targets, divisor = batch(9, "float32")
    with TrainingEngine(graph, params, threads=2) as engine:
        engine.train_step(x, targets, divisor)
        assert [workspace.in_use for workspace in engine.workspaces] == [0, 0]
        engine.predict(x)
        engine.batch_statistics(x)
        assert [workspace.in_use for workspace in engine.workspaces] == [0, 0]


def test_batch_statistics_leave_the_running_ones_alone() -> None:
    graph, params = network("batchnorm")
    before = params.flat_buffers.copy()
    with TrainingEngine(graph, params, threads=2) as engine:
        statistics = engine.batch_statistics(batch(8)[0])
    assert len(statistics) == 4
    np.testing.assert_array_equal(params.flat_buffers, before)


def test_integers_are_scaled_and_shifted() -> None:
    graph, params = network("one segment")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    scale, shift = np.array([0.1, 0.2, 0.3]), np.array([-1.0, 0.0, 2.0])
    with TrainingEngine(graph, params, threads=2, scale=scale, shift=shift) as engine:
        ours = engine.predict(pixels).copy()
        np.testing.assert_allclose(ours, engine.predict(pixels * scale + shift), rtol=1e-12)


def test_a_single_branch_is_its_layers() -> None:
    found = []
    for layers in ([CONV, {"branches": [["relu", CONV]]}], [CONV, "relu", CONV]):
        config = validate_config({"model": {"layers": [*layers, {"linear": "classes"}]}}, "x")
        graph = build_graph(config.model, (8, 8, 3), 4, "x")
        params = Parameters(graph, "float64")
        params.flat[:] = np.random.default_rng(0).standard_normal(params.flat.size)
        params.touch()
        x, targets, divisor = batch(5)
        with TrainingEngine(graph, params, threads=2) as engine:
            loss, logits = engine.train_step(x, targets, divisor)
            found.append((loss, logits.copy(), engine.gradient.copy(), engine.predict(x).copy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_error_in_a_worker_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, params = network("one segment")
    x, targets, divisor = batch(4)
    with TrainingEngine(graph, params, threads=2) as engine:

        def fail(*_: Any) -> None:
            raise MemoryError("no room")

        monkeypatch.setattr("cnn_cli.nn.training_pass.TrainingPass.forward", fail)
        with pytest.raises(MemoryError, match="no room"):
            engine.train_step(x, targets, divisor)
        monkeypatch.undo()
        engine.train_step(x, targets, divisor)


def test_batchnorms_of_a_branch_and_its_shortcut_share_a_barrier() -> None:
    conv = {"conv": {"out_channels": 5, "kernel_size": 1}}
    layers = [
        {"residual": {"layers": [conv, "batchnorm"], "shortcut": [conv, "batchnorm"]}},
        "global_avgpool",
        {"linear": "classes"},
    ]
    config = validate_config({"model": {"layers": layers}}, "x")
    segments = plan.plan_segments(build_graph(config.model, (4, 4, 3), 2, "x"), training=True)
    assert [len(segment.barriers) for segment in segments] == [2, 0]
    assert len(plan.plan_segments(build_graph(config.model, (4, 4, 3), 2, "x"), False)) == 1


@pytest.mark.parametrize(
    ("n", "per_chunk", "workers", "sizes"),
    [
        (64, 8, 2, [8] * 8),
        (64, 64, 2, [32, 32]),
        (5, 2, 2, [1, 1, 1, 2]),
        (1, 8, 2, [1]),
        (3, 1, 8, [1, 1, 1]),
    ],
)
def test_chunk_bounds(n: int, per_chunk: int, workers: int, sizes: list[int]) -> None:
    bounds = plan.chunk_bounds(n, per_chunk, workers)
    assert [stop - start for start, stop in bounds] == sizes
    assert bounds[0][0] == 0
    assert bounds[-1][1] == n
