"""A graph with its parameters, planned and ready to be passed through."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from cnn_cli.nn.context import NOTHING, NodeContext
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import Segment, plan_segments
from cnn_cli.nn.team import Team
from cnn_cli.structs import Struct, replace

if TYPE_CHECKING:
    from cnn_cli.nn.gradients import Gradients


class Prepared:
    """Prepared arrays of one network's parameters, made when the parameters have changed.

    Attributes:
        arrays: by node.
    """

    def __init__(self, graph: Graph, params: Parameters, team: Team) -> None:
        self.params = params
        self.arrays = {
            node.index: np.zeros(node.layer.prepared, params.dtype)
            for node in graph.nodes
            if node.layer.prepared is not None
        }
        self._team = team
        self._shares = share_nodes(graph, team.size)
        self._version: int | None = None

    def refresh(self) -> None:
        """Make the arrays anew, on all threads, if the parameters have changed."""
        if self._version == self.params.version:
            return
        self._version = self.params.version

        def work(worker: int) -> None:
            for node in self._shares[worker]:
                node.layer.prepare(self.params.views[node.index], self.arrays[node.index])

        if self.arrays:
            self._team.run(work)


def share_nodes(graph: Graph, workers: int) -> list[list[Node]]:
    """The nodes that have `prepared`, the largest first to whom has least: the same every time."""
    nodes = [node for node in graph.nodes if node.layer.prepared is not None]
    shares: list[list[Node]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for node in sorted(nodes, key=lambda node: -prod(node.layer.prepared or ())):
        least = loads.index(min(loads))
        shares[least].append(node)
        loads[least] += prod(node.layer.prepared or ())
    return shares


class Network(Struct):
    """What a pass runs through; `open` makes one.

    Attributes:
        segments: of the graph's nodes, cut for training or for evaluation.
        prepared: what layers make of `params` once a step.
        contexts: what each worker's layers get, by node.
        training: there is a backward pass.
        running_stats: batch layers use their running statistics and dropout keeps all, as in
            evaluation.
        entry: the tensor that passes begin with.
    """

    graph: Graph
    params: Parameters
    segments: tuple[Segment, ...]
    prepared: Prepared
    contexts: tuple[dict[int, NodeContext], ...]
    training: bool
    running_stats: bool = False
    entry: int = IMAGE

    @classmethod
    def open(
        cls,
        graph: Graph,
        params: Parameters,
        team: Team,
        *,
        training: bool,
        running_stats: bool = False,
        keep: int | None = None,
        entry: int = IMAGE,
    ) -> Network:
        """Plan a network; arguments as of `plan_segments`. Gradients come by `with_gradients`."""
        segments = plan_segments(
            graph, training, running_stats=running_stats, keep=keep, entry=entry
        )
        prepared = Prepared(graph, params, team)
        contexts = {
            step.node.index: NodeContext(
                index=step.node.index,
                params=params.views[step.node.index],
                buffers=params.buffer_views[step.node.index],
                prepared=prepared.arrays.get(step.node.index, NOTHING),
                inplace=step.inplace,
                need_dx=bool(step.requires_grad),
                has_backward=step.has_backward,
            )
            for segment in segments
            for step in segment.steps
        }
        each = (contexts,) * team.size
        return cls(graph, params, segments, prepared, each, training, running_stats, entry)

    def with_gradients(self, gradients: Gradients) -> Network:
        """The same network, whose workers add up gradients there."""
        contexts = tuple(
            {
                index: replace(
                    context,
                    grads=views[index],
                    prepared_grad=prepared.get(index, NOTHING),
                )
                for index, context in shared.items()
            }
            for shared, views, prepared in zip(
                self.contexts, gradients.views, gradients.prepared, strict=True
            )
        )
        return replace(self, contexts=contexts)
