"""A graph with its parameters, planned and ready for passes."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from cnn_cli.nn.context import NOTHING, NodeContext
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import Segment, plan_segments
from cnn_cli.nn.team import Team
from cnn_cli.structs import Struct


class Prepared:
    """The prepared arrays of some nodes' parameters, updated when the parameters change.

    Attributes:
        arrays: by node.
    """

    def __init__(self, nodes: Iterable[Node], params: Parameters, team: Team) -> None:
        used = [node for node in nodes if node.layer.prepared is not None]
        self.params = params
        self.arrays = {
            node.index: np.zeros(node.layer.prepared or (), params.dtype) for node in used
        }
        self._team = team
        self._shares = share_nodes(used, team.size)
        self._version: int | None = None

    def refresh(self) -> None:
        """Recompute the arrays, on all threads, if the parameters have changed."""
        if self._version == self.params.version:
            return
        self._version = self.params.version

        def work(worker: int) -> None:
            for node in self._shares[worker]:
                node.layer.prepare(self.params.views[node.index], self.arrays[node.index])

        if self.arrays:
            self._team.run(work)


def share_nodes(nodes: Iterable[Node], workers: int) -> list[list[Node]]:
    """Distribute nodes with `prepared` over the workers, largest first to the least loaded.

    The result is deterministic.
    """
    shares: list[list[Node]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for node in sorted(nodes, key=lambda node: -prod(node.layer.prepared or ())):
        least = loads.index(min(loads))
        shares[least].append(node)
        loads[least] += prod(node.layer.prepared or ())
    return shares


class Network(Struct):
    """The network that a pass runs through; created by `open`.

    Attributes:
        segments: segments of the graph's nodes, for training or for evaluation.
        prepared: arrays that layers compute from `params` once per step.
        contexts: the contexts of each worker's layers, by node.
        training: a backward pass follows.
        running_stats: batch layers use their running statistics and dropout is off, as in
            evaluation.
        entry: the tensor with which passes begin.
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
        """Plan a network, without gradients: see `Gradients.attached_to`.

        Arguments as in `plan_segments`.
        """
        segments = plan_segments(
            graph, training, running_stats=running_stats, keep=keep, entry=entry
        )
        steps = [step for segment in segments for step in segment.steps]
        prepared = Prepared((step.node for step in steps), params, team)
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
            for step in steps
        }
        each = (contexts,) * team.size
        return cls(graph, params, segments, prepared, each, training, running_stats, entry)
