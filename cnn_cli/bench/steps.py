"""Training and prediction steps on random images, for timing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from cnn_cli.closing import Closing
from cnn_cli.config import Config
from cnn_cli.data.normalization import Normalization
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array, Share
from cnn_cli.optim.groups import freeze_graph, make_groups
from cnn_cli.optim.optimizers import make_optimizer

LEAST_STEPS = 3  # however long they take


class Steps(Closing):
    """An engine with random images for steps: a batch, or this process's part of one.

    Parameters that `train.freeze` freezes from the first epoch on are frozen.

    Args:
        images: number of images of the batch or part.
        recompute: whether activations are recomputed, from `plan_memory`.
        exchange: communication with the processes that have the other parts.
        offset: position of the part's first image in the batch.
        batch_size: size of the whole batch; by default `images`.
        share: threads of the optimizer; by default the engine's.

    Attributes:
        seconds: time of the engine and of the optimizer in the last training step.
    """

    def __init__(
        self,
        graph: Graph,
        params: Parameters,
        config: Config,
        kernels: Kernels,
        images: int,
        threads: int,
        *,
        recompute: bool = False,
        exchange: Exchange | None = None,
        offset: int = 0,
        batch_size: int | None = None,
        share: Share | None = None,
    ) -> None:
        rng = np.random.default_rng(offset)
        self.images = rng.integers(0, 256, (images, *graph.in_shape), np.uint8)
        numbers = rng.integers(0, graph.classes, images)
        multiple = config.data.separator is not None
        labels: Array = np.eye(graph.classes, dtype=np.uint8)[numbers] if multiple else numbers
        self.targets = target_weights(labels, graph.classes, dtype=params.dtype)
        self.offset = offset
        channels = graph.in_shape[-1]
        normalization = Normalization((0.5,) * channels, (0.25,) * channels)
        self.engine = TrainingEngine(
            freeze_graph(graph, config.train.rules, 0),
            params,
            threads=threads,
            kernels=kernels,
            exchange=exchange,
            batch_size=batch_size or images,
            recompute=recompute,
            loss=config.train.loss.make(multiple=multiple),
            **normalization.for_engine(),
        )
        groups = make_groups(params, config.train.rules)
        self.optimizer = make_optimizer(config.train.optimizer, params, groups)
        self.share = share or self.engine.share
        self.seconds = (0.0, 0.0)

    def close(self) -> None:
        self.engine.close()

    def train(self) -> None:
        """Run a training step with learning rate 0, so that the random weights cannot diverge."""
        start = time.perf_counter()
        self.engine.train_step(self.images, *self.targets, offset=self.offset)
        middle = time.perf_counter()
        self.optimizer.step(self.engine.gradient, 0.0, self.share)
        self.seconds = (middle - start, time.perf_counter() - middle)

    def predict(self) -> Array:
        return self.engine.predict(self.images)


def repeat(act: Callable[[], object], seconds: float, least_steps: int = LEAST_STEPS) -> float:
    """Call `act` once, and then for some time; return the median seconds of the later calls."""
    act()
    taken: list[float] = []
    while len(taken) < least_steps or sum(taken) < seconds:
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
