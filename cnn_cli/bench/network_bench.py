"""How fast a network trains and predicts on this machine, on random images, and where time goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnn_cli.bench.steps import LEAST_STEPS, Steps, repeat
from cnn_cli.config import Config
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.timing import timed
from cnn_cli.training.memory import plan_memory


@dataclass(frozen=True, slots=True)
class LayerBench:
    """One layer in training, on one worker.

    Attributes:
        forward_ms, backward_ms: milliseconds for the worker's part of a batch.
        forward_gflops, backward_gflops: two for each multiply-add, the backward's being those of
            the weights' gradient and, where somebody reads it, of the input's; None where the
            layer has none.
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
    """What was measured; times are medians of steps.

    Attributes:
        batch_size, threads: of training and prediction.
        images, chunk: one worker's part of a batch, and how many of them go through the layers
            together.
        layers: in the order they run.
        engine_ms: of the worker's step, what is no layer's: the loss, sums of gradients, barriers.
        optimizer_ms: of the worker's step.
        step_ms: the worker's step.
        training, prediction: images a second on all threads.
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
        config: says how it is trained: `train.batch_size`, the optimizer.
        source: the config's file, for messages.
        threads: of training and prediction; layers are measured on one.
        kernels: what layers compute with.
        seconds: for each of the three measurements, at least; so is a warm-up of one step.

    Raises:
        ConfigError: training takes more memory than there is.
    """
    plan_memory(config, graph, source, threads, kernels.name)
    size = config.train.batch_size
    images = -(-size // threads)
    timed_graph, times = timed(graph)
    with Steps(timed_graph, params, config, kernels, images, 1) as steps:
        rows = []

        def measured() -> None:
            for layer in times:
                layer.forward = layer.backward = 0.0
            steps.train()
            parts = [(layer.forward, layer.backward) for layer in times]
            rows.append([*sum(parts, ()), *steps.seconds])

        repeat(measured, seconds)
        chunk = min(steps.engine.chunk_size, images)
    medians = np.median(rows[1:], axis=0)
    layer_seconds = medians[:-2].reshape(-1, 2)
    engine, optimizer = medians[-2] - layer_seconds.sum(), medians[-1]
    total = float(medians[-2:].sum())
    training, prediction = images_a_second(
        graph, params, config, kernels, threads=threads, seconds=seconds
    )
    return Bench(
        batch_size=size,
        threads=threads,
        backend=kernels.name,
        dtype=config.train.dtype,
        images=images,
        chunk=chunk,
        layers=tuple(
            _layer_bench(node, images, float(forward), float(backward), total)
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
    least_steps: int = LEAST_STEPS,
) -> tuple[float, float]:
    """How many are trained on and predicted; see `bench`.

    Args:
        least_steps: of each, that are measured however long they take.
    """
    size = config.train.batch_size
    with Steps(graph, params, config, kernels, size, threads) as steps:
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
    """How many images a second a network predicts; the arguments are as of `bench`.

    Args:
        images: that each thread is given at a time.
    """
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (images * threads, *graph.in_shape), np.uint8)
    scale = np.full(graph.in_shape[-1], 1 / 255)
    with Engine(graph, params, threads=threads, scale=scale, kernels=kernels) as engine:
        return len(batch) / repeat(lambda: engine.predict(batch), seconds)


def _layer_bench(
    node: Node, images: int, forward: float, backward: float, step: float
) -> LayerBench:
    flops = 2 * node.layer.muladds * images
    products = 1 if IMAGE in node.inputs else 2
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
