"""Parameter groups: the learning rate and weight decay of each parameter, and which are frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar

from cnn_cli.errors import ConfigError, suggest
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.layers.batch import BatchLayer
from cnn_cli.nn.params import Parameters
from cnn_cli.optim.layer_decay import blocks_above
from cnn_cli.optim.optimizer import Group, Groups, OptimizerConfig
from cnn_cli.structs import replace

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class GroupRules:
    """What determines the groups; by default no factors and no frozen parameters.

    Attributes:
        optimizer, lr_factors, layer_decay, weight_decay_factors, freeze: as in `train`.
        only: names of the layers to train, as far as `freeze` leaves them; None for all.
    """

    optimizer: OptimizerConfig
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    layer_decay: float = 1.0
    weight_decay_factors: Mapping[str, float] = field(default_factory=dict)
    freeze: int | Mapping[str, int] = 0
    only: Set[str] | None = None


def make_groups(params: Parameters, rules: GroupRules, epoch: int = 0) -> Groups:
    """Create the groups for `norm_weight_decay`, `layer_decay`, `freeze` and the factors.

    Adjacent parameters with equal treatment form one group; without these keys there is a single
    group.

    Args:
        params: the parameters.
        rules: the rules.
        epoch: number of the epoch from 0, on which `freeze` depends.
    """
    trained: list[Group] = []
    frozen: list[slice] = []
    above = blocks_above(params.graph)
    for node, spec, part in params.parts():
        if is_frozen(params.graph, node, spec, rules, epoch):
            frozen.append(part)
            continue
        lr_factor, weight_decay, matrix = rules.optimizer.treatment(node, spec)
        weight_decay *= _last_fitting(rules.weight_decay_factors, node, spec, 1.0)
        lr_factor *= _last_fitting(rules.lr_factors, node, spec, 1.0)
        lr_factor *= rules.layer_decay ** above[node.index]
        start = part.start
        if trained and matrix is None:
            before = trained[-1].part.start
            if trained[-1] == Group(slice(before, start), lr_factor, weight_decay):
                start = trained.pop().part.start
        trained.append(Group(slice(start, part.stop), lr_factor, weight_decay, matrix))
    return Groups(tuple(trained), tuple(frozen))


def is_frozen(graph: Graph, node: Node, spec: ParamSpec, rules: GroupRules, epoch: int) -> bool:
    """Whether a parameter is frozen in an epoch, counted from 0."""
    if rules.only is not None and node.name not in rules.only:
        return True
    if isinstance(rules.freeze, int):
        return _layers_with_parameters(graph.nodes[: node.index]) < rules.freeze
    first: int | None = _last_fitting(rules.freeze, node, spec, None)
    return first is not None and epoch >= first


def freeze_graph(graph: Graph, rules: GroupRules, epoch: int) -> Graph:
    """Return the network with frozen flags for layers that are completely frozen in an epoch.

    Returns:
        `graph` itself if nothing changes.
    """
    nodes, still = list(graph.nodes), set()
    for node in graph.nodes:
        layer = node.layer
        frozen = all(is_frozen(graph, node, spec, rules, epoch) for spec in layer.params)
        if layer.params and frozen:
            still.add(node.index)
        if isinstance(layer, BatchLayer) and layer.frozen != frozen:
            changed = copy(layer)
            changed.frozen = frozen
            nodes[node.index] = replace(node, layer=changed)
    if still == graph.frozen and nodes == list(graph.nodes):
        return graph
    return replace(graph, nodes=tuple(nodes), frozen=frozenset(still))


def check_patterns(graph: Graph, rules: GroupRules, source: str) -> None:
    """Refuse patterns that match no parameter, and freezing everything.

    Raises:
        ConfigError: there is such a pattern, or nothing would be trained.
    """
    parameters = [(node, spec) for node in graph.nodes for spec in node.layer.params]
    for key in ("lr_factors", "weight_decay_factors", "freeze"):
        patterns = getattr(rules, key)
        for pattern in () if isinstance(patterns, int) else patterns:
            if any(_fits(pattern, node, spec) for node, spec in parameters):
                continue
            names = [name for node, spec in parameters for name in _names(node, spec)]
            rule = f"no parameter has such a name.{suggest(pattern, names)}"
            raise ConfigError(f"{source}: train.{key}", rule, repr(pattern))
    if parameters and all(is_frozen(graph, *each, rules, 0) for each in parameters):
        if isinstance(rules.freeze, int):
            layers = _layers_with_parameters(graph.nodes)
            rule = f"must be below the number of layers with parameters, {layers}"
            raise ConfigError(f"{source}: train.freeze", rule, rules.freeze)
        patterns = ", ".join(map(repr, rules.freeze))
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
    """Whether a pattern matches one of a parameter's names; the slash of checkpoints counts as a
    dot.
    """
    pattern = pattern.replace("/", ".")
    return any(fnmatchcase(name, pattern) for name in _names(node, spec))


def _names(node: Node, spec: ParamSpec) -> Iterator[str]:
    """Yield the parameter's own name, and that of all of its kind."""
    yield f"{node.name}.{spec.name}"
    yield f"{node.layer.kind}.{spec.name}"
