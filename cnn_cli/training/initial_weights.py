"""What training starts from: weights drawn at random, or those of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_cli.config import Config
from cnn_cli.config.network import build_graph
from cnn_cli.data.normalization import Normalization
from cnn_cli.errors import ConfigError, DataError
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Shape
from cnn_cli.runs.checkpoint import load_checkpoint, resolve_checkpoint


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """The first weights.

    Attributes:
        normalization: what a checkpoint's weights expect pixels to be made; None without one.
        note: for the user, where layers could not be taken over.
    """

    params: Parameters
    normalization: Normalization | None = None
    note: str | None = None

    def compare(self, normalization: Normalization) -> str | None:
        """What to say where training makes pixels something else than the weights expect."""
        if self.normalization is None:
            return None
        before = [*self.normalization.mean, *self.normalization.std]
        if np.allclose([*normalization.mean, *normalization.std], before, rtol=0, atol=1e-3):
            return None
        return "data.mean and data.std are not those that the weights were trained with"


def initial_weights(
    config: Config, graph: Graph, classes: tuple[str, ...], weights: Path | None
) -> InitialWeights:
    """A checkpoint's weights, or those that `model.init` draws.

    Where the checkpoint's classes are others, or in another order, the layers whose size depends
    on how many there are start at random.

    Args:
        classes: the names to train for.
        weights: a checkpoint, or a run folder.

    Raises:
        DataError: the checkpoint cannot be read, or is another network's.
    """
    params = Parameters(graph, config.train.dtype)
    initialize(params, config.train.seed, config.model.init)
    if weights is None:
        return InitialWeights(params)
    file = resolve_checkpoint(weights)
    checkpoint = load_checkpoint(file, ("model", "ema"))
    # Averaged weights, where there are some, are what was evaluated.
    arrays = checkpoint.groups.get("model", {}) | checkpoint.groups.get("ema", {})
    note = None
    before = checkpoint.meta["classes"]
    if tuple(before) != classes:
        head = head_names(config, graph)
        if not head:
            rule = "its classes must be the data's, since no layer's size is `classes`"
            raise DataError(file, rule, ", ".join(before))
        own = params.named() | params.named_buffers()
        arrays = {
            name: own[name] if _layer(name) in head and name in own else array
            for name, array in arrays.items()
        }
        note = f"{', '.join(head)} starts at random: the {len(before)} classes of {file} are others"
    params.load(arrays, str(file))
    meta = checkpoint.meta
    return InitialWeights(params, Normalization(tuple(meta["mean"]), tuple(meta["std"])), note)


def head_names(config: Config, graph: Graph) -> list[str]:
    """The layers whose parameters have other shapes for another number of classes."""
    try:
        more = build_graph(config.model, graph.in_shape, graph.classes + 1, "model")
    except ConfigError:  # the scores have another source than a layer of that size
        return []
    return [
        node.name
        for node, other in zip(graph.nodes, more.nodes, strict=True)
        if _shapes(graph, node.index) != _shapes(more, other.index)
    ]


def _shapes(graph: Graph, index: int) -> list[Shape]:
    return [spec.shape for spec in graph.nodes[index].layer.params]


def _layer(name: str) -> str:
    return name.rpartition("/")[0]
