"""Which parameters move alike: rate and decay of each, and which of them stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TypeVar

from cnn_cli.config import TrainConfig
from cnn_cli.config.optimizers import MuonConfig, OptimizerConfig
from cnn_cli.errors import ConfigError, suggest
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.layers.batch import BatchLayer
from cnn_cli.nn.params import Parameters

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Group:
    """A run of the flat array whose numbers move alike.

    Attributes:
        part: of `Parameters.flat`.
        lr_factor: of the step's learning rate.
        weight_decay: of each number, times the learning rate.
        matrix: rows and columns of a single convolution's filters, one a column, for an optimizer
            that moves them as a whole.
    """

    part: slice
    lr_factor: float
    weight_decay: float
    matrix: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """How all of the flat array is treated.

    Attributes:
        moved: in the array's order.
        frozen: the other runs of it.
    """

    moved: tuple[Group, ...]
    frozen: tuple[slice, ...]


def make_groups(params: Parameters, config: TrainConfig, epoch: int = 0) -> Groups:
    """What `norm_weight_decay`, `lr_factors`, `weight_decay_factors` and `freeze` ask for.

    Neighbours that move alike are one group, so that without these keys there is a single one.

    Args:
        epoch: number of the epoch from 0, on which `freeze` depends.
    """
    moved: list[Group] = []
    frozen: list[slice] = []
    for node, spec, part in params.parts():
        if is_frozen(params.graph, node, spec, config, epoch):
            frozen.append(part)
            continue
        lr_factor, weight_decay, matrix = _treatment(config.optimizer, node, spec)
        weight_decay *= _last_fitting(config.weight_decay_factors, node, spec, 1.0)
        lr_factor *= _last_fitting(config.lr_factors, node, spec, 1.0)
        start = part.start
        if moved and matrix is None:
            before = moved[-1].part.start
            if moved[-1] == Group(slice(before, start), lr_factor, weight_decay):
                start = moved.pop().part.start
        moved.append(Group(slice(start, part.stop), lr_factor, weight_decay, matrix))
    return Groups(tuple(moved), tuple(frozen))


def _treatment(
    optimizer: OptimizerConfig, node: Node, spec: ParamSpec
) -> tuple[float, float, tuple[int, int] | None]:
    """Rate factor, weight decay and matrix of a parameter, by its optimizer alone."""
    lr_factor = 1.0
    if isinstance(optimizer, MuonConfig):
        if node.layer.kind == "conv" and spec.role == "weight":
            columns = spec.shape[-1]
            return lr_factor, optimizer.weight_decay, (spec.size // columns, columns)
        lr_factor = optimizer.other.lr / optimizer.lr
        optimizer = optimizer.other
    spared = spec.role != "weight" and optimizer.norm_weight_decay is not None
    weight_decay = optimizer.norm_weight_decay if spared else optimizer.weight_decay
    return lr_factor, weight_decay or 0.0, None


def is_frozen(graph: Graph, node: Node, spec: ParamSpec, config: TrainConfig, epoch: int) -> bool:
    """Whether a parameter stays as it is in an epoch, counted from 0."""
    if isinstance(config.freeze, int):
        return _layers_with_parameters(graph.nodes[: node.index]) < config.freeze
    first: int | None = _last_fitting(config.freeze, node, spec, None)
    return first is not None and epoch >= first


def freeze_graph(graph: Graph, config: TrainConfig, epoch: int) -> Graph:
    """The same network, those of its layers held still that are frozen whole in an epoch.

    Returns:
        `graph` itself where nothing changes.
    """
    nodes, still = list(graph.nodes), set()
    for node in graph.nodes:
        layer = node.layer
        frozen = all(is_frozen(graph, node, spec, config, epoch) for spec in layer.params)
        if layer.params and frozen:
            still.add(node.index)
        if isinstance(layer, BatchLayer) and layer.frozen != frozen:
            changed = copy(layer)
            changed.frozen = frozen
            nodes[node.index] = replace(node, layer=changed)
    if still == graph.still and nodes == list(graph.nodes):
        return graph
    return replace(graph, nodes=tuple(nodes), still=frozenset(still))


def check_patterns(graph: Graph, config: TrainConfig, source: str) -> None:
    """Refuse patterns that no parameter fits, and to freeze all there is to train.

    Raises:
        ConfigError: there is such a pattern, or nothing would be trained.
    """
    parameters = [(node, spec) for node in graph.nodes for spec in node.layer.params]
    for key in ("lr_factors", "weight_decay_factors", "freeze"):
        patterns = getattr(config, key)
        for pattern in () if isinstance(patterns, int) else patterns:
            if any(_fits(pattern, node, spec) for node, spec in parameters):
                continue
            names = [name for node, spec in parameters for name in _names(node, spec)]
            rule = f"no parameter has such a name.{suggest(pattern, names)}"
            raise ConfigError(f"{source}: train.{key}", rule, repr(pattern))
    if parameters and all(is_frozen(graph, *each, config, 0) for each in parameters):
        if isinstance(config.freeze, int):
            layers = _layers_with_parameters(graph.nodes)
            rule = f"must be below the number of layers with parameters, {layers}"
            raise ConfigError(f"{source}: train.freeze", rule, config.freeze)
        patterns = ", ".join(map(repr, config.freeze))
        raise ConfigError(f"{source}: train.freeze", "must leave parameters to train", patterns)


def _layers_with_parameters(nodes: Sequence[Node]) -> int:
    return sum(1 for node in nodes if node.layer.params)


def _last_fitting(
    values: Mapping[str, Value], node: Node, spec: ParamSpec, default: Value
) -> Value:
    for pattern, value in values.items():
        if _fits(pattern, node, spec):
            default = value
    return default


def _fits(pattern: str, node: Node, spec: ParamSpec) -> bool:
    """Whether a pattern fits one of a parameter's names; a checkpoint's slash is a dot."""
    pattern = pattern.replace("/", ".")
    return any(fnmatchcase(name, pattern) for name in _names(node, spec))


def _names(node: Node, spec: ParamSpec) -> Iterator[str]:
    """Its own, and that of all of its kind."""
    yield f"{node.name}.{spec.name}"
    yield f"{node.layer.kind}.{spec.name}"
