"""Initial weights: drawn at random, or taken from another training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_cli.config import Config
from cnn_cli.config.network import build_graph
from cnn_cli.config.paths import names_weights
from cnn_cli.data.normalization import Normalization
from cnn_cli.errors import ConfigError, DataError
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array, Shape
from cnn_cli.runs.checkpoint import load_checkpoint, resolve_checkpoint

NEAR_ZERO = 0.01  # factor for values drawn by `model.init`


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """The initial weights.

    Attributes:
        normalization: the normalization of pixels that trained weights expect; None for random
            weights.
        note: a note to the user about layers that were not taken over.
    """

    params: Parameters
    normalization: Normalization | None = None
    note: str | None = None

    def compare(self, normalization: Normalization) -> str | None:
        """Return a note if training normalizes pixels differently from what the weights expect."""
        if self.normalization is None:
            return None
        before = [*self.normalization.mean, *self.normalization.std]
        now = [*normalization.mean, *normalization.std]
        same_depth = normalization.depth == self.normalization.depth
        if same_depth and np.allclose(now, before, rtol=0, atol=1e-3):
            return None
        return "data.mean and data.std are not those that the weights were trained with"


def initial_weights(
    config: Config,
    graph: Graph,
    classes: tuple[str, ...],
    source: str,
    *,
    resumed: bool = False,
) -> InitialWeights:
    """Load the weights that `train.weights` names, or draw them as `model.init` says.

    If the classes differ, in name or order, the layers with one row per class keep the rows of
    known classes; the rows of new classes start near zero.

    Args:
        classes: the names of the classes to train.
        source: the config's file, for messages.
        resumed: the run resumes from a checkpoint, which replaces these weights.

    Raises:
        UsageError: a package is not installed.
        DataError: the weights cannot be read or belong to another network.
    """
    params = Parameters(graph, config.train.dtype)
    initialize(params, config.train.seed, config.model.init)
    if config.train.weights is None or resumed:
        return InitialWeights(params)
    trained = _read(config, graph, source)
    arrays, note = trained.arrays, None
    if trained.classes != classes:
        head = head_names(config, graph)
        if not head:
            rule = "its classes must be the data's, since no layer's size is `classes`"
            raise DataError(trained.place, rule, ", ".join(trained.classes))
        own = params.named() | params.named_buffers()
        rows = _rows(trained.classes, classes)
        arrays = {
            name: _head(own[name], array, rows) if _layer(name) in head and name in own else array
            for name, array in arrays.items()
        }
        note = f"{', '.join(head)} {_head_text(trained, classes)}"
    params.load(arrays, trained.place)
    return InitialWeights(params, trained.normalization, note)


def weights_file(weights: str) -> Path:
    """Return the file that `train.weights` refers to.

    Raises:
        UsageError, DataError: there is none.
    """
    if not names_weights(weights):
        return resolve_checkpoint(weights)
    from cnn_cli.interop.pretrained import find_weights

    return find_weights(weights)


@dataclass(frozen=True, slots=True)
class _Trained:
    """Weights of another training.

    Attributes:
        place: their source, for messages.
        arrays: by `layer/param`.
        classes: the class names, in the order of the scores.
        normalization: the normalization of pixels that they expect.
    """

    place: str
    arrays: dict[str, Array]
    classes: tuple[str, ...]
    normalization: Normalization


def _read(config: Config, graph: Graph, source: str) -> _Trained:
    weights = config.train.weights or ""
    if names_weights(weights):
        from cnn_cli.interop.pretrained import read_named

        def build(classes: int) -> Graph:
            return build_graph(config.model, graph.in_shape, classes, source)

        package, arrays = read_named(weights, build)
        return _Trained(weights, arrays, package.classes(), package.normalization)
    file = weights_file(weights)
    checkpoint = load_checkpoint(file, ("model", "ema"))
    # If there are averaged weights, they are the ones that were evaluated.
    arrays = checkpoint.groups.get("model", {}) | checkpoint.groups.get("ema", {})
    meta = checkpoint.meta
    return _Trained(str(file), arrays, tuple(meta["classes"]), Normalization.stored(meta))


def _rows(before: Sequence[str], classes: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs (row now, row before) for the classes present in both."""
    old = {name: row for row, name in enumerate(before)}
    return [(row, old[name]) for row, name in enumerate(classes) if name in old]


def _head(own: Array, trained: Array, rows: list[tuple[int, int]]) -> Array:
    """Return a tensor of the last layer with one row per class.

    Rows drawn at random for a new class are noise that training hardly removes: a step changes them
    only along the features of its images. They are scaled down, but not to zero, because a ReLU
    after the layer would block the gradient.
    """
    head = own.copy() if own.ndim == 1 else own * NEAR_ZERO
    if own.shape[1:] == trained.shape[1:]:
        for now, before in rows:
            head[now] = trained[before]
    return head


def _head_text(trained: _Trained, classes: Sequence[str]) -> str:
    known = len(_rows(trained.classes, classes))
    if not known:
        count = f"{len(trained.classes):,}"
        return f"starts near zero: none of your classes is among the {count} of {trained.place}"
    rest = len(classes) - known
    text = f"keeps the weights of {known} class{'es' * (known > 1)} of {trained.place}"
    return text + (f"; {rest} start{'s' * (rest == 1)} near zero" if rest else "")


def head_names(config: Config, graph: Graph) -> list[str]:
    """Return the names of layers whose parameter shapes depend on the number of classes."""
    try:
        more = build_graph(config.model, graph.in_shape, graph.classes + 1, "model")
    except ConfigError:  # no layer of that size gives the scores
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
