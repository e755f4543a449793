"""Where the workers' gradients are summed."""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.graph import Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.prepared import share_nodes
from cnn_cli.nn.team import Team
from cnn_cli.nn.types import Array


class Gradients:
    """One accumulator a worker, of the parameters and of what layers prepare from them.

    Attributes:
        flat: like `params.flat`; after `reduce` the first worker's holds the sum.
        views: named views of them.
        prepared: by node, gradients of the prepared arrays.
    """

    def __init__(self, graph: Graph, params: Parameters, team: Team) -> None:
        self._graph = graph
        self._team = team
        pairs = [params.empty_like() for _ in range(team.size)]
        self.flat: list[Array] = [flat for flat, _ in pairs]
        self.views = [views for _, views in pairs]
        self.prepared: list[dict[int, Array]] = [
            {
                node.index: np.zeros(node.layer.prepared_grad, params.dtype)
                for node in graph.nodes
                if node.layer.prepared_grad is not None
            }
            for _ in range(team.size)
        ]
        self._shares = share_nodes(self._graph, team.size)

    @property
    def nbytes(self) -> int:
        prepared = sum(array.nbytes for arrays in self.prepared for array in arrays.values())
        return prepared + sum(flat.nbytes for flat in self.flat)

    def reduce(self, busy: int) -> None:
        """Add the first `busy` workers' gradients, in order, into the first one's."""
        total, size, workers = self.flat[0], self.flat[0].size, self._team.size

        def work(worker: int) -> None:
            share = slice(size * worker // workers, size * (worker + 1) // workers)
            for flat in self.flat[1:busy]:
                total[share] += flat[share]

        def collect(worker: int) -> None:
            for node in self._shares[worker]:
                first = self.prepared[0][node.index]
                for other in self.prepared[1:busy]:
                    first += other[node.index]
                node.layer.collect(first, self.views[0][node.index])

        if busy > 1:
            self._team.run(work)
        if self.prepared[0]:
            self._team.run(collect)
