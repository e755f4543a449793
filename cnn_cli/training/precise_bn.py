"""Batch statistics estimated for evaluation, for batches too small for good running statistics.

Running means over batches of a few images lag and are noisy. Wu and Johnson 2021 ("Rethinking
'Batch' in BatchNorm", section 3) compute the statistics of many images with frozen weights. Here
the batches' statistics are combined with Chan's formula.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from cnn_cli.config import Config
from cnn_cli.config.sections import SMALL_BATCH
from cnn_cli.data.loader import Loader
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.layers.batch import BatchLayer, Statistics, waits_for_batch
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.optim.groups import freeze_graph
from cnn_cli.parallel.batches import Awaited, BatchSplitter
from cnn_cli.parallel.ranks import Ranks
from cnn_cli.training.divergence import check_finite
from cnn_cli.training.session import Hook, Session
from cnn_cli.training.training_data import TrainingData, epoch_order

IMAGES = 2048


class PreciseStatistics(Hook):
    """Estimates the statistics after each epoch if the config asks for it.

    Args:
        session: its `evaluated` becomes a copy of the weights, with statistics of its own.
    """

    def __init__(self, session: Session) -> None:
        if wants_precise_bn(session.setup.config, session.setup.graph):
            session.evaluated = session.learner.params.copy()

    def after_epoch(self, session: Session) -> None:
        if not session.estimates_statistics:
            return
        estimate_statistics(
            session.engine,
            session.learner.weights,
            session.evaluated,
            session.data,
            session.setup.config,
            session.state.epoch,
            session.setup.ranks,
            session.requests.awaited,
        )
        check_finite(session.evaluated, session.state)
        session.estimated = session.evaluated.named_buffers()


def wants_precise_bn(config: Config, graph: Graph) -> bool:
    """Evaluate `train.precise_bn`: False if every batchnorm is frozen from the start."""
    nodes = freeze_graph(graph, config.train.rules, 0).nodes
    return config.train.estimates_statistics and any(waits_for_batch(each.layer) for each in nodes)


def estimate_statistics(
    engine: TrainingEngine,
    weights: Parameters,
    evaluated: Parameters,
    data: TrainingData,
    config: Config,
    epoch: int,
    ranks: Ranks,
    awaited: Awaited,
) -> None:
    """Copy `weights` to `evaluated` with statistics estimated from up to 2,048 training images.

    The images are augmented as in that epoch, but not mixed. The choice of images depends on (seed,
    epoch) only. The running statistics of training are not modified. Ranks share each batch through
    the engine's exchange.

    Args:
        awaited: `Requests.awaited`.
    """
    evaluated.copy_from(weights)
    loader = data.train_loader
    size = max(SMALL_BATCH, config.train.batch_size)
    loader = Loader(
        loader.split, loader.cache, size, loader.threads, loader.on_corrupt, loader.augment
    )
    order = epoch_order(config, epoch, loader.split, size, draw=1)[:IMAGES]
    splitter = BatchSplitter(ranks, loader, data.dataset.root, config.data.shards)
    found: dict[int, list[Statistics]] = defaultdict(list)
    with _holding(engine.params, weights):
        for batch in splitter.batches(loader, order, awaited, epoch=epoch):
            if len(batch) > 1:
                first = batch.own.start
                statistics = engine.batch_statistics(batch.images, offset=first)
                for index, each in statistics.items():
                    found[index].append(each)
    for index, batches in found.items():
        layer = engine.graph.nodes[index].layer
        if not isinstance(layer, BatchLayer):
            raise TypeError(f"{engine.graph.nodes[index].name} has no statistics of batches")
        together = layer.combine([each.as_partial() for each in batches])
        buffers = evaluated.buffer_views[index]
        buffers["running_mean"][...] = together.mean
        buffers["running_var"][...] = together.unbiased_var
    evaluated.touch()


@contextmanager
def _holding(params: Parameters, others: Parameters) -> Iterator[None]:
    """Give `params` the values of `others` within the context."""
    if params is others:
        yield
        return
    kept = params.copy()
    params.copy_from(others)
    try:
        yield
    finally:
        params.copy_from(kept)
