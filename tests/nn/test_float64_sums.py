"""Sums in float64 over fixed chunks, whoever computes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from test_gradients import BADS, LAYERS, accumulators, refill

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.float64_sums import Float64Gradients
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Chunk
from cnn_cli.nn.plan import chunk_bounds, chunks_multiple, plan_segments, uses_float64_sums
from cnn_cli.nn.team import Team
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array

STEPS = 3
IMAGES = 32


def network(layers: list[Any], size: int = 16) -> tuple[Graph, Parameters]:
    model = validate_config({"model": {"layers": layers}}, "x").model
    graph = build_graph(model, (size, size, 3), 4, "x")
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    return graph, params


class Table:
    """Shared storage of processes that are simulated by threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = Barrier(size)
        self.places: list[Any] = [None] * size


class Seat:
    """One process's `Exchange`; sums are added from the last process to the first."""

    def __init__(self, table: Table, number: int) -> None:
        self.table, self.number, self.size = table, number, table.size
        self.begun: list[Array] = []

    def gather(self, numbers: Array) -> Array:
        self.table.places[self.number] = numbers.copy()
        self.table.barrier.wait()
        gathered = np.array(self.table.places)
        self.table.barrier.wait()
        return gathered

    def start_sum(self, numbers: Array) -> None:
        self.begun.append(numbers)

    def keep_going(self) -> None: ...

    def finish_sums(self) -> None:
        for numbers in self.begun:
            numbers[...] = sum(self.gather(numbers)[::-1])
        self.begun.clear()


def trained(
    processes: int, threads: int, exchange: bool, layers: list[Any] = LAYERS
) -> list[bytes]:
    """Return each process's weights and statistics after some steps of gradient descent."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((IMAGES, 16, 16, 3)).astype("float32")
    targets, divisor = target_weights(rng.integers(0, 4, IMAGES), 4)
    table = Table(processes)

    def work(number: int) -> bytes:
        graph, params = network(layers)
        own = slice(IMAGES * number // processes, IMAGES * (number + 1) // processes)
        seat = Seat(table, number) if exchange else None
        with TrainingEngine(graph, params, threads=threads, exchange=seat) as engine:
            for step in range(STEPS):
                engine.train_step(x[own], targets[own], divisor, step=step, offset=own.start)
                params.flat -= np.float32(0.1) * engine.gradient
                params.touch()
        return params.flat.tobytes() + params.flat_buffers.tobytes()

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(work, range(processes)))


def test_any_number_of_threads_and_processes_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert network(LAYERS)[0].nodes[2].layer.prepared_grad is not None, "no Winograd path"
    ways = [(1, 1, False), (1, 2, False), (1, 4, False), (2, 1, True), (2, 2, True), (4, 1, True)]
    found = {found for way in ways for found in trained(*way)}
    assert len(found) > 1  # without float64 the results differ
    monkeypatch.setattr("cnn_cli.nn.training_engine.uses_float64_sums", lambda *_: True)
    found = {found for way in ways for found in trained(*way)}
    assert len(found) == 1


def test_processes_share_the_statistics_of_a_single_channel() -> None:
    layers = [{"conv": {"out_channels": 1, "kernel_size": 3}}, "batchnorm", {"linear": "classes"}]
    (alone,) = trained(1, 1, False, layers)
    for found in trained(2, 1, True, layers):
        shared, own = (np.frombuffer(each, "float32") for each in (found, alone))
        np.testing.assert_allclose(shared, own, rtol=1e-3, atol=1e-5)


def test_the_sum_is_that_of_all_chunks() -> None:
    """Over workers that had a chunk; an idle one holds values of an earlier step."""
    graph, params = network(LAYERS)
    team = Team(3)
    try:
        sums = Float64Gradients(graph, params, team, plan_segments(graph, training=True))
        for number in (1.0, 2.0, 3.0):
            refill(sums, number)
            for worker in range(2 if number < 3 else 3):
                for level in range(len(sums.parts)):
                    sums.keep(Chunk(0, 1, worker, fresh=number != 2), level)
        sums.reduce(2)
        expected = sums.totals[2].astype("float32") * 2  # 3 of either
        np.testing.assert_allclose(sums.flat[0], expected, rtol=1e-6)
        assert sums.finite
        for bad in (*BADS, 3e38 * 10):
            sums.totals[1][7] = bad
            with np.errstate(all="ignore"):
                sums.reduce(2)
            assert not sums.finite
    finally:
        team.close()


def test_bad_numbers_of_a_chunk_are_noticed() -> None:
    graph, params = network(LAYERS)
    team = Team(1)
    try:
        sums = Float64Gradients(graph, params, team, plan_segments(graph, training=True))
        for which in range(len(accumulators(sums, 0))):
            refill(sums)
            accumulators(sums, 0)[which].reshape(-1)[-1] = np.nan
            for level in range(len(sums.parts)):
                sums.keep(Chunk(0, 1, 0, fresh=True), level)
            sums.reduce(1)
            assert not sums.finite, which
    finally:
        team.close()


@pytest.mark.parametrize("n", [3, 32, 72, 127, 128, 1000])
@pytest.mark.parametrize("per_chunk", [5, 8, 66, 500])
def test_cuts_are_the_same_for_all(n: int, per_chunk: int) -> None:
    cuts = set()
    for processes, workers in [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)]:
        chunks = []
        for number in range(processes):
            start, stop = n * number // processes, n * (number + 1) // processes
            multiple = chunks_multiple(workers, processes, alike=True)
            for first, last in chunk_bounds(stop - start, per_chunk, multiple):
                chunks.append((start + first, start + last))
        if n % 4 == 0 or per_chunk > n:
            cuts.add(tuple(chunks))
        assert chunks[-1][1] == n
    assert len(cuts) <= 1


def test_who_is_not_counted_on() -> None:
    """Numbers that do not divide four, and networks that sum in float32."""
    assert chunks_multiple(3, 1, alike=True) == 3
    assert chunks_multiple(2, 8, alike=True) == 2
    assert chunks_multiple(2, 1, alike=False) == 2


def test_which_networks_sum_so() -> None:
    """Those that use each weight often, on 32×32 maps; in float32, in large batches."""
    conv = {"conv": {"out_channels": 64, "kernel_size": 3, "padding": 1}}
    deep, _ = network([conv, "relu", conv, "relu", conv, {"linear": "classes"}], size=32)
    wide, _ = network([{"linear": 4000}, "relu", {"linear": "classes"}], size=32)
    small, _ = network(LAYERS)
    assert [uses_float64_sums(graph, 4, 128) for graph in (deep, wide, small)] == [
        True,
        False,
        False,
    ]
    assert not uses_float64_sums(deep, 8, 128)
    assert not uses_float64_sums(deep, 4, 32)
