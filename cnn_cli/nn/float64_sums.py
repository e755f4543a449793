"""Gradient sums in float64, which depend on the chunks but hardly on who computed which.

Summing float32 numbers in another order changes the last digit, and training amplifies differences.
Here each chunk's float32 gradient is added in float64. Rounded to float32 once at the end, the sum
is the same for any order in all but one number of several hundred million. If one, two or four
threads or processes use the same chunks (`plan.chunks_multiple`), they get the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnn_cli.nn.gradients import GradientPart, Gradients, is_finite
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Chunk
from cnn_cli.nn.plan import Segment
from cnn_cli.nn.team import Team
from cnn_cli.nn.types import Array


class Float64Gradients(Gradients):
    """Like `Gradients`, but every chunk writes its gradients and `keep` adds them up.

    Attributes:
        totals: float64 arrays like `flat`, one per worker.
    """

    in_float64 = True

    def __init__(
        self, graph: Graph, params: Parameters, team: Team, segments: Sequence[Segment]
    ) -> None:
        super().__init__(graph, params, team, segments)
        self.totals = [np.zeros(flat.shape) for flat in self.flat]

    @property
    def nbytes(self) -> int:
        return super().nbytes + sum(total.nbytes for total in self.totals)

    @property
    def sums(self) -> Array:
        return self.totals[0]

    def keep(self, chunk: Chunk, level: int) -> None:
        worker, part = chunk.worker, self.parts[level]
        for index, gradient in self.prepared[worker].items():
            if index in part.nodes:
                node = self._graph.nodes[index]
                node.layer.collect(gradient, self.views[worker][index])
        flat, total = self.flat[worker], self.totals[worker]
        for place in part.slices:
            if chunk.fresh:
                total[place] = flat[place]
            else:
                total[place] += flat[place]

    def reduce(self, busy: int) -> None:
        def work(block: slice) -> bool:
            self._total(busy, block)
            return self._round(block)

        self.finite = self._each_block(self._all, work)

    def reduce_part(self, busy: int, part: GradientPart) -> None:
        def work(block: slice) -> bool:
            self._total(busy, block)
            return True

        if busy != 1:
            self._each_block(part, work)

    def look(self) -> None:
        self.finite = self._each_block(self._all, self._round)

    def _total(self, busy: int, block: slice) -> None:
        total = self.totals[0][block]
        if busy == 0:
            total[...] = 0
        for other in self.totals[1:busy]:
            total += other[block]

    def _round(self, block: slice) -> bool:
        """Round the sum to the parameters' dtype; return whether all of it is finite."""
        rounded = self.flat[0][block]
        rounded[...] = self.totals[0][block]
        return is_finite(rounded)
