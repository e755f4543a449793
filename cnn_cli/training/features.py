"""The network of an epoch: the size of its images, its frozen layers, and their cached outputs.

If the images are the same in every epoch, so are the outputs of the first frozen layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.dataset import Split
from cnn_cli.data.loader import Batch, Loader
from cnn_cli.data.shards import touched
from cnn_cli.data.targets import Labels
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import frozen_prefix
from cnn_cli.nn.training_engine import Halves, TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import freeze_graph, make_groups
from cnn_cli.training.session import Hook, Session
from cnn_cli.training.training_data import deal_shards

BATCH = 64
MEMORY_FRACTION = 1 / 4  # share of the available memory for features


class EpochNetwork(Hook):
    """Trains the network for the epoch's image size, with the layers frozen that `train.freeze` and
    `train.head` name for the epoch; caches their outputs if possible, until images begin to change.

    After the epoch's steps, the engine has the full image size again.
    """

    def before_epoch(self, session: Session) -> None:
        setup, learner, epoch = session.setup, session.learner, session.state.epoch
        rules, loader = setup.rules(epoch), session.loader
        learner.optimizer.groups = make_groups(learner.params, rules, epoch)
        graph, of_size = session.engine.graph, setup.graph_of(epoch)
        if graph.in_shape != of_size.in_shape:
            graph = of_size
        graph = freeze_graph(graph, rules, epoch)
        session.data.train_loader.image_size = setup.config.image_size(epoch)
        # Features are useless if images change or statistics are averaged or estimated.
        unchanged = session.mixer is None and setup.config.train.progressive_resizing is None
        same_images = loader.augment is None and (setup.trains_head_alone(epoch) or unchanged)
        cacheable = same_images and session.evaluated is learner.params
        kept = session.source is loader or (cacheable and isinstance(session.source, Features))
        if kept and graph is session.engine.graph:
            return
        node = IMAGE
        room = int(setup.memory.room() * MEMORY_FRACTION) // setup.memory.processes
        if cacheable:
            node = cached_node(graph, len(loader.split), learner.params.dtype.itemsize, room)
        session.source = loader
        if node != IMAGE:
            layer, images = graph.nodes[node].name, len(loader.split)
            session.progress.note(f"frozen up to {layer}: computed once for {images:,} images")
            with session.requests.at_once():
                ranks = session.setup.ranks
                shards = deal_shards(session.setup.config, loader.split)
                wanted = touched(shards, ranks.rank, ranks.size)
                session.source = features = compute_features(session.engine, loader, node, wanted)
                room -= features.values.nbytes
        if graph is session.engine.graph and node == session.engine.entry:
            return
        session.replace_engine(graph, node)
        full = graph.in_shape == setup.graph.in_shape
        # Each view of an image would have features of its own.
        val_loader = session.data.val_loader if full and session.data.views is None else None
        if val_loader is not None and session.evaluated is learner.params:
            session.val_features = ValidationFeatures.open(
                session.engine, val_loader, setup.ranks.size, room
            )

    def after_epoch(self, session: Session) -> None:
        setup, epoch = session.setup, session.state.epoch
        if session.engine.graph.in_shape != setup.graph.in_shape:
            session.data.train_loader.image_size = None
            session.replace_engine(freeze_graph(setup.graph, setup.rules(epoch), epoch))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The output of the last cached frozen layer for every training image.

    Attributes:
        node: position of that layer in the graph.
        values: (images, *shape of one output), in the order of the split.
        good: (images,) whether the image could be read.
        labels: the images' labels, see `targets`.
    """

    node: int
    values: Array
    good: NDArray[np.bool_]
    labels: Labels

    def parts(
        self, parts: Sequence[NDArray[np.int64]], skip: int = 0, epoch: int = 0
    ) -> Iterator[Batch]:
        """Yield what `Loader.parts` yields, with features in place of images."""
        for number in range(skip, len(parts)):
            indices = parts[number]
            indices = indices[self.good[indices]]
            yield Batch(self.values[indices], self.labels[indices], indices, number)


class ValidationFeatures:
    """Validation images and an engine's scores of them, for which frozen layers run only once.

    It takes the place of both in `evaluate`, for the same images each time: the first evaluation
    keeps the frozen layers' output of each batch. The scores are the same bits.

    Attributes:
        graph, dtype: the engine's.
        split: the loader's.
    """

    def __init__(self, engine: TrainingEngine, halves: Halves, loader: Loader) -> None:
        self.graph: Graph = engine.graph
        self.dtype: np.dtype[Any] = engine.dtype
        self.split: Split = loader.split
        self._params = engine.params
        self._halves = halves
        self._loader = loader
        self._kept: list[Batch] | None = None

    @classmethod
    def open(
        cls, engine: TrainingEngine, loader: Loader, ranks: int, room: int
    ) -> ValidationFeatures | None:
        """Return the features of a rank's images; None if no layer is frozen, or without room.

        Args:
            engine: the engine that would evaluate.
            loader: the loader of all validation images.
            ranks: number of ranks that share them.
            room: bytes available.
        """
        halves = engine.halves()
        if halves is None:
            return None
        images = -(-len(loader.split) // ranks)
        nbytes = images * prod(halves.shape) * engine.dtype.itemsize
        return cls(engine, halves, loader) if nbytes <= room else None

    def batches(self, order: NDArray[np.int64]) -> Iterator[Batch]:
        """Yield what `Loader.batches` yields, with features in place of images."""
        if self._kept is not None:
            yield from self._kept
            return
        kept = []
        for batch in self._loader.batches(order):
            with np.errstate(over="ignore", invalid="ignore"):  # as in `evaluate`
                features = self._halves.lower(batch.images)
            kept.append(Batch(features, batch.labels, batch.indices, batch.number))
            yield kept[-1]
        self._kept = kept

    def predict(self, x: Array, params: Parameters | None = None) -> Array:
        """Return logits (n, classes) of features, valid until the next call."""
        if params not in (None, self._params):
            raise ValueError("features are of the engine's own parameters")
        return self._halves.upper(x)


def cached_node(graph: Graph, images: int, itemsize: int, room: int) -> int:
    """Return the last node whose output is worth caching; `IMAGE` if there is none.

    Args:
        graph: the network, which knows the frozen parameters.
        images: number of images.
        itemsize: bytes per value.
        room: bytes available for features.
    """
    node = frozen_prefix(graph)
    if node == IMAGE:
        return IMAGE
    nbytes = images * prod(graph.shape(node)) * itemsize
    return node if nbytes <= room else IMAGE


def compute_features(
    engine: TrainingEngine, loader: Loader, node: int, wanted: NDArray[np.int64]
) -> Features:
    """Compute the outputs of a node for images.

    Order and batch size are fixed, so the features are the same bits every time.

    Args:
        wanted: positions of the images in the split.
    """
    images = len(loader.split)
    values = np.zeros((images, *engine.graph.shape(node)), engine.dtype)
    good = np.zeros(images, np.bool_)
    unchanged = Loader(loader.split, loader.cache, BATCH, loader.threads, loader.on_corrupt)
    features_of = engine.features(node)
    for batch in unchanged.batches(wanted):
        values[batch.indices] = features_of(batch.images)
        good[batch.indices] = True
    return Features(node, values, good, loader.split.labels)
