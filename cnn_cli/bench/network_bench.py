"""Measure a network's training and prediction on this machine, and the time of each layer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.bench.steps import LEAST_STEPS, Steps, repeat
from cnn_cli.config import Config
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import requires_grad
from cnn_cli.nn.team import Team
from cnn_cli.nn.timing import timed
from cnn_cli.training.memory import plan_memory


@dataclass(frozen=True, slots=True)
class LayerBench:
    """The time of one layer in training, on one worker.

    Attributes:
        forward_ms, backward_ms: milliseconds for the worker's part of a batch.
        forward_gflops, backward_gflops: two operations per multiply-add; the backward pass has
            those of the weight gradient, unless the layer is frozen, and, if needed, of the input
            gradient; None if the layer has none.
        share: fraction of the step's time.
    """

    name: str
    type: str
    forward_ms: float
    forward_gflops: float | None
    backward_ms: float
    backward_gflops: float | None
    share: float


@dataclass(frozen=True, slots=True)
class Bench:
    """The measurements; times are medians over steps.

    Attributes:
        batch_size, threads: of training and prediction.
        images, chunk: one worker's part of a batch, and its chunk size.
        layers: in the order of execution.
        engine_ms: time of the worker's step outside layers: loss, gradient sums, barriers.
        optimizer_ms: time of the optimizer, with all threads.
        step_ms: time of the worker's step.
        training, prediction: images per second on all threads.
    """

    batch_size: int
    threads: int
    backend: str
    dtype: str
    images: int
    chunk: int
    layers: tuple[LayerBench, ...]
    engine_ms: float
    optimizer_ms: float
    step_ms: float
    training: float
    prediction: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    graph: Graph,
    params: Parameters,
    config: Config,
    source: str,
    *,
    threads: int,
    kernels: Kernels,
    seconds: float,
) -> Bench:
    """Measure a network.

    Args:
        graph, params: the network; its running statistics change, its weights do not.
        config: the training; parameters that it freezes from the first epoch on are frozen.
        source: the config's file, for messages.
        threads: threads of training and prediction; layers are measured on one.
        kernels: the kernels.
        seconds: least duration of each of the three measurements, after a warm-up of one step.

    Raises:
        ConfigError: training takes more memory than there is.
    """
    recompute = plan_memory(config, graph, source, threads, kernels.name).recompute
    size = config.train.batch_size
    images = ceil_div(size, threads)
    timed_graph, times = timed(graph)
    with (
        closing(Team(threads)) as team,
        Steps(
            timed_graph,
            params,
            config,
            kernels,
            images,
            threads=1,
            recompute=recompute,
            share=team.share,
        ) as steps,
    ):
        rows = []

        def measured() -> None:
            for layer in times:
                layer.forward = layer.backward = 0.0
            steps.train()
            parts = [(layer.forward, layer.backward) for layer in times]
            rows.append([*sum(parts, ()), *steps.seconds])

        repeat(measured, seconds)
        chunk = min(steps.engine.chunk_size, images)
        products = gradients_of(steps.engine.graph)
    medians = np.median(rows[1:], axis=0)
    layer_seconds = medians[:-2].reshape(-1, 2)
    engine, optimizer = medians[-2] - layer_seconds.sum(), medians[-1]
    total = float(medians[-2:].sum())
    training, prediction = images_a_second(
        graph,
        params,
        config,
        kernels,
        threads=threads,
        seconds=seconds,
        recompute=recompute,
    )
    return Bench(
        batch_size=size,
        threads=threads,
        backend=kernels.name,
        dtype=config.train.dtype,
        images=images,
        chunk=chunk,
        layers=tuple(
            _layer_bench(node, images, float(forward), float(backward), total, products[node.index])
            for node, (forward, backward) in zip(graph.nodes, layer_seconds, strict=True)
        ),
        engine_ms=1e3 * max(0.0, float(engine)),
        optimizer_ms=1e3 * float(optimizer),
        step_ms=1e3 * total,
        training=training,
        prediction=prediction,
    )


def images_a_second(
    graph: Graph,
    params: Parameters,
    config: Config,
    kernels: Kernels,
    *,
    threads: int,
    seconds: float,
    recompute: bool,
    least_steps: int = LEAST_STEPS,
) -> tuple[float, float]:
    """Measure how many images per second are trained and predicted; see `bench`.

    Args:
        recompute: whether activations are recomputed, from `plan_memory`.
        least_steps: least number of steps of each, however long they take.
    """
    size = config.train.batch_size
    with Steps(graph, params, config, kernels, size, threads, recompute=recompute) as steps:
        training = size / repeat(steps.train, seconds, least_steps)
        return training, size / repeat(steps.predict, seconds, least_steps)


def predictions_a_second(
    graph: Graph,
    params: Parameters,
    kernels: Kernels,
    *,
    threads: int,
    images: int = 8,
    seconds: float = 1.0,
) -> float:
    """Measure how many images per second a network predicts; arguments as in `bench`.

    Args:
        images: number of images per thread at a time.
    """
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (images * threads, *graph.in_shape), np.uint8)
    scale = np.full(graph.in_shape[-1], 1 / 255)
    with Engine(graph, params, threads=threads, scale=scale, kernels=kernels) as engine:
        return len(batch) / repeat(lambda: engine.predict(batch), seconds)


def gradients_of(graph: Graph) -> list[int]:
    """Return how many gradients the backward pass of each layer computes: of weight and input."""
    needed = requires_grad(graph)
    return [
        (node.index not in graph.frozen) + (not needed.isdisjoint(node.inputs))
        for node in graph.nodes
    ]


def _layer_bench(
    node: Node, images: int, forward: float, backward: float, step: float, products: int
) -> LayerBench:
    flops = 2 * node.layer.muladds * images
    return LayerBench(
        name=node.name,
        type=node.layer.kind,
        forward_ms=1e3 * forward,
        forward_gflops=_rate(flops, forward),
        backward_ms=1e3 * backward,
        backward_gflops=_rate(products * flops, backward),
        share=(forward + backward) / step,
    )


def _rate(flops: int, seconds: float) -> float | None:
    return flops / seconds / 1e9 if flops and seconds > 0 else None
