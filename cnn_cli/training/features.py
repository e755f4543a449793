"""Outputs of the first frozen layers, computed once for images that are the same in every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.dataset import Split
from cnn_cli.data.loader import Batch, Loader
from cnn_cli.data.targets import Labels
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import frozen_prefix
from cnn_cli.nn.training_engine import Halves, TrainingEngine
from cnn_cli.nn.types import Array

BATCH = 64


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
        images = ceil_div(len(loader.split), ranks)
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
