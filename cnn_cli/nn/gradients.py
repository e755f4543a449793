"""Where the workers' gradients are summed, and looked at while they are in cache."""

from __future__ import annotations

import math

import numpy as np

from cnn_cli.nn.graph import Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.prepared import share_nodes
from cnn_cli.nn.team import Team
from cnn_cli.nn.types import Array

BLOCK = 262_144  # elements: of two arrays, in an L2 cache of 2 MB; smaller ones cost Python's time


class Gradients:
    """One accumulator a worker, of the parameters and of what layers prepare from them.

    Attributes:
        flat: like `params.flat`; after `reduce` the first worker's holds the sum.
        views: named views of them.
        prepared: by node, gradients of the prepared arrays.
        finite: whether all of the last sum is.
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
        self.finite = True

    @property
    def nbytes(self) -> int:
        prepared = sum(array.nbytes for arrays in self.prepared for array in arrays.values())
        return prepared + sum(flat.nbytes for flat in self.flat)

    def reduce(self, busy: int) -> None:
        """Add the first `busy` workers' gradients, in order, into the first one's.

        Whether the sum is finite is found on the way, on all threads and in cache: in a fully
        connected network of 20 million weights a pass of its own took 3-5 % of a step, this 1-2 %.
        """
        total, size, workers = self.flat[0], self.flat[0].size, self._team.size
        finite = [True] * workers

        def collect(worker: int) -> None:
            for node in self._shares[worker]:
                first = self.prepared[0][node.index]
                for other in self.prepared[1:busy]:
                    first += other[node.index]
                node.layer.collect(first, self.views[0][node.index])

        def work(worker: int) -> None:
            end = size * (worker + 1) // workers
            for start in range(size * worker // workers, end, BLOCK):
                block = slice(start, min(start + BLOCK, end))
                for flat in self.flat[1:busy]:
                    total[block] += flat[block]
                finite[worker] = finite[worker] and is_finite(total[block])

        if self.prepared[0]:
            self._team.run(collect)  # the others hold zeros where the first gets these
        self._team.run(work)
        self.finite = all(finite)


def is_finite(flat: Array) -> bool:
    """Whether all numbers of a flat array are; as a rule by one pass over it, with BLAS.

    Squares that overflow make NumPy warn, where the calling thread has not told it not to.
    """
    return math.isfinite(np.dot(flat, flat)) or bool(np.isfinite(flat).all())
