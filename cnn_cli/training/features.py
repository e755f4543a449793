"""Frozen layers computed once: where images are the same in every epoch, so is what these make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.loader import Batch, Loader
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.plan import still_prefix
from cnn_cli.nn.types import Array
from cnn_cli.system import available_memory

BATCH = 64
SHARE = 4  # of the memory there is, what features may take


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the frozen layers make of every training image.

    Attributes:
        node: the position of the last of them.
        values: (images, *its shape), by position in the split.
        good: (images,) those that could be read.
        labels: (images,) class numbers.
    """

    node: int
    values: Array
    good: NDArray[np.bool_]
    labels: NDArray[np.int64]

    def parts(
        self, parts: Sequence[NDArray[np.int64]], skip: int = 0, epoch: int = 0
    ) -> Iterator[Batch]:
        """What `Loader.parts` gives, with features in place of the images."""
        for number in range(skip, len(parts)):
            indices = parts[number]
            indices = indices[self.good[indices]]
            yield Batch(self.values[indices], self.labels[indices], indices, number)


def cached_node(graph: Graph, images: int, itemsize: int) -> int:
    """Up to which node features are worth keeping; `IMAGE` where there is none.

    Args:
        graph: knows which parameters are still.
        images: how many.
        itemsize: bytes of a number.
    """
    node = still_prefix(graph)
    if node == IMAGE:
        return IMAGE
    nbytes = images * prod(graph.shape(node)) * itemsize
    return node if nbytes <= available_memory() // SHARE else IMAGE


def compute_features(
    engine: Engine, loader: Loader, node: int, wanted: NDArray[np.int64]
) -> Features:
    """Pass images through the layers up to a node.

    The order and the size of the batches are always the same, and so are the features' bits.

    Args:
        wanted: the images' positions in the split.
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
