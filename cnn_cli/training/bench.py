"""How fast a network trains and predicts on this machine, on random images, and where time goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnn_cli.config import Config
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.kernels.backend import Kernels
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.timing import timed
from cnn_cli.nn.types import Array
from cnn_cli.training.classifier import Normalization
from cnn_cli.training.optimizers import make_optimizer
from cnn_cli.training.session import check_memory

LEAST_STEPS = 3  # whatever the time they take


@dataclass(frozen=True, slots=True)
class LayerBench:
    """One layer in training, on one worker.

    Attributes:
        forward_ms, backward_ms: milliseconds for the worker's share of a batch.
        forward_gflops, backward_gflops: two for each multiply-add, the backward's being those of
            the weights' gradient and, where somebody reads it, of the input's; None where the
            layer has none.
        share: of the step's time.
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
        images, chunk: one worker's share of a batch, and how many of them go through the layers
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
    check_memory(config, graph, source, threads, kernels.name)
    size = config.train.batch_size
    share = -(-size // threads)
    timed_graph, times = timed(graph)
    with _Steps(timed_graph, params, config, kernels, share, 1) as steps:
        rows = []

        def measured() -> None:
            for layer in times:
                layer.forward = layer.backward = 0.0
            steps.train()
            parts = [(layer.forward, layer.backward) for layer in times]
            rows.append([*sum(parts, ()), *steps.seconds])

        _repeat(measured, seconds)
        chunk = min(steps.engine.chunk_size, share)
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
        images=share,
        chunk=chunk,
        layers=tuple(
            _layer_bench(node, share, float(forward), float(backward), total)
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
    with _Steps(graph, params, config, kernels, size, threads) as steps:
        training = size / _repeat(steps.train, seconds, least_steps)
        return training, size / _repeat(steps.predict, seconds, least_steps)


class _Steps:
    """An engine with a batch of random images to do steps on.

    Attributes:
        seconds: what the engine and the optimizer took at the last training step.
    """

    def __init__(
        self,
        graph: Graph,
        params: Parameters,
        config: Config,
        kernels: Kernels,
        images: int,
        threads: int,
    ) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (images, *graph.in_shape), np.uint8)
        labels = rng.integers(0, graph.classes, images)
        self.targets = target_weights(labels, graph.classes, dtype=params.dtype)
        channels = graph.in_shape[-1]
        normalization = Normalization((0.5,) * channels, (0.25,) * channels)
        scale, shift = normalization.scale_and_shift()
        self.engine = Engine(
            graph,
            params,
            threads=threads,
            scale=scale,
            shift=shift,
            kernels=kernels,
            batch_size=images,
        )
        self.optimizer = make_optimizer(config.train.optimizer, params)
        self.seconds = (0.0, 0.0)

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def train(self) -> None:
        """A step that leaves the weights as they are, so that a bad guess of them cannot grow."""
        start = time.perf_counter()
        self.engine.train_step(self.images, *self.targets)
        middle = time.perf_counter()
        self.optimizer.step(self.engine.gradient, 0.0)
        self.seconds = (middle - start, time.perf_counter() - middle)

    def predict(self) -> Array:
        return self.engine.predict(self.images)


def _repeat(act: Callable[[], object], seconds: float, least_steps: int = LEAST_STEPS) -> float:
    """Call `act` once, and then for some time; the median of seconds that a later call took."""
    act()
    taken: list[float] = []
    while len(taken) < least_steps or sum(taken) < seconds:
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


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
