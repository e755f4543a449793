"""What layers make of their parameters once a step, such as transformed weights."""

from __future__ import annotations

from math import prod

import numpy as np

from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.team import Team


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
