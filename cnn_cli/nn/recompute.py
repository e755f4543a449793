"""Gradient checkpointing: which activations a training step computes twice to save memory.

Batch normalization makes a batch's chunks wait for each other, so everything that the backward pass
reads is kept for the whole batch. If some barriers become cuts, the first forward pass keeps only
the tensors that cross them; before the backward pass of a part, its forward pass is repeated from
there (Chen et al. 2016, arXiv:1604.06174). The batch statistics are known by then, and the same
numbers are added in the same order, so the bits are the same.

The part after the last cut runs once. So does a network without batch normalization, in which each
chunk's backward pass immediately follows its forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.plan import Segment, pass_segment
from cnn_cli.structs import Struct

TRIALS = 24  # part sizes to try
GROWTH = 1.25  # ratio of successive sizes


class RecomputedPart(Struct):
    """Segments that are repeated together.

    Attributes:
        first, last: the segments, inclusive.
        leftover: tensors not released by the second forward pass: only later parts read them, whose
            backward passes are complete.
    """

    first: int
    last: int
    leftover: tuple[int, ...]


class Recompute(Struct):
    """What is computed twice.

    Attributes:
        parts: in forward order.
        once: the first segment of the part that runs once; earlier segments keep no activations.
        release: by node, the tensors that the first forward pass releases after it.
        numbers: values per image that wait for the backward pass at once.
        muladds: multiply-adds per image of the second forward pass.
    """

    parts: tuple[RecomputedPart, ...] = ()
    once: int = 0
    release: Mapping[int, tuple[int, ...]] = {}
    numbers: int = 0
    muladds: int = 0

    def part_until(self, level: int) -> RecomputedPart | None:
        """Return the part whose last segment this is, or None."""
        return next((part for part in self.parts if part.last == level), None)


ONCE = Recompute()
"""Nothing is computed twice."""


def plan_recompute(graph: Graph, segments: Sequence[Segment], entry: int = IMAGE) -> Recompute:
    """Return the cuts with the fewest waiting activations; without parts if no cut helps.

    Args:
        graph: the network.
        segments: result of `plan.plan_segments`, for training.
        entry: the tensor with which passes begin.
    """
    flow = _Flow(graph, segments, entry)
    # Several sizes may give the same cuts.
    cuts = dict.fromkeys([(), *map(flow.cuts, flow.sizes())])
    return min(map(flow.plan, cuts), key=lambda plan: (plan.numbers, plan.muladds))


class _Flow:
    """In which segment tensors are produced, read and released."""

    def __init__(self, graph: Graph, segments: Sequence[Segment], entry: int) -> None:
        self.graph = graph
        self.segments = segments
        self.entry = entry
        self.made = {entry: 0}
        self.read: dict[int, int] = {entry: 0}  # the last segment that reads it
        self.last_reader: dict[int, int] = {}  # its last reading node
        self.released: dict[int, int] = {}  # the segment of the node that releases it
        memory = {entry: entry}  # the tensor whose memory it uses
        self.overwritten: dict[int, int] = {}  # by that tensor: the last segment that writes there
        for level, segment in enumerate(segments):
            for step in segment.steps:
                node = step.node
                self.made[node.index] = self.read[node.index] = level
                for tensor in node.inputs:
                    self.read[tensor] = level
                    self.last_reader[tensor] = node.index
                for tensor in (*step.release, *step.release_backward):
                    self.released[tensor] = level
                first = memory[node.inputs[0]]
                memory[node.index] = node.index
                if step.inplace or node.layer.is_view:
                    memory[node.index] = first
                if step.inplace:
                    self.overwritten[first] = level
        self.memory = memory
        trained = [any(step.has_backward for step in segment.steps) for segment in segments]
        self.trained_from = trained.index(True)
        self.stored = self._stored()

    def size(self, tensor: int) -> int:
        return prod(self.graph.shape(tensor))

    def crossing(self, level: int) -> list[int]:
        """Return the tensors from this segment or earlier that later segments read."""
        return [tensor for tensor, made in self.made.items() if made <= level < self.read[tensor]]

    def _stored(self) -> list[int]:
        """Return the values per image that wait after each segment."""
        alive = {self.entry: self.size(self.entry)}
        found = []
        for segment in self.segments:
            pass_segment(self.graph, segment, alive)
            found.append(sum(alive.values()))
        return found

    def sizes(self) -> list[int]:
        """Return the part sizes to try."""
        largest = self.stored[-1]
        return [int(largest / GROWTH**trial) for trial in range(1, TRIALS + 1)]

    def cuts(self, size: int) -> tuple[int, ...]:
        """Return the segments after which to cut, so that no part stores more, if possible."""
        cuts: list[int] = []
        begins, must_reach = 0, 0  # everything that crosses a cut is read in the next part
        frozen = self.trained_from - 1  # the last segment without a backward pass
        for level in range(max(frozen, 0), len(self.segments) - 1):
            crossing = self.crossing(level)
            if level < must_reach or not self._may_cut(level, crossing):
                continue
            if level == frozen or self.stored[level + 1] - begins > size:
                cuts.append(level)
                begins = self.stored[level]
                must_reach = max(self.read[tensor] for tensor in crossing)
        return tuple(cuts)

    def _may_cut(self, level: int, crossing: Sequence[int]) -> bool:
        """Whether the crossing tensors are unchanged until they are read again."""
        return all(self.overwritten.get(self.memory[tensor], -1) <= level for tensor in crossing)

    def plan(self, cuts: Sequence[int]) -> Recompute:
        """Return the parts between cuts, and their memory."""
        kept = [self.crossing(cut) for cut in cuts]
        starts = [0, *(cut + 1 for cut in cuts)]
        parts = [
            RecomputedPart(first, last, self._leftover(first, last))
            for first, last in zip(starts[:-1], cuts, strict=True)
        ]
        again = [part for part in parts if part.last >= self.trained_from]
        stays = {tensor for tensors in kept for tensor in tensors}
        release = {
            step.node.index: tuple(
                tensor
                for tensor in dict.fromkeys(step.node.inputs)
                if self.last_reader[tensor] == step.node.index and tensor not in stays
            )
            for segment in self.segments[: starts[-1]]
            for step in segment.steps
        }
        muladds = sum(
            step.node.layer.muladds
            for part in again
            for segment in self.segments[part.first : part.last + 1]
            for step in segment.steps
        )
        numbers = self._numbers(parts, kept, starts[-1])
        return Recompute(tuple(again), starts[-1], release, numbers, muladds)

    def _leftover(self, first: int, last: int) -> tuple[int, ...]:
        return tuple(
            tensor
            for tensor, made in self.made.items()
            if first <= made <= last and self.released.get(tensor, made) > last
        )

    def _numbers(
        self, parts: Sequence[RecomputedPart], kept: Sequence[Sequence[int]], once: int
    ) -> int:
        """Return the largest number of values per image that wait at once, including returning
        gradients.
        """
        sizes = [sum(map(self.size, tensors)) for tensors in kept]
        alive = dict.fromkeys(kept[-1], 0) if kept else {self.entry: self.size(self.entry)}
        most = sum(sizes) + self._waiting(once, len(self.segments) - 2, alive)
        for number, part in enumerate(parts):
            if part.last < self.trained_from:
                continue
            before = kept[number - 1] if number else [self.entry]
            alive = {tensor: self.size(tensor) for tensor in before}
            own = self._waiting(part.first, part.last, alive)
            most = max(most, sum(sizes[: max(number - 1, 0)]) + own + sizes[number])
        return most

    def _waiting(self, first: int, last: int, alive: dict[int, int]) -> int:
        """Return the values that wait after segments have run, with the gradients of the next
        one.
        """
        if last < first:
            return sum(alive.values())
        for segment in self.segments[first : last + 1]:
            pass_segment(self.graph, segment, alive)
        behind = self.segments[last].barriers
        return sum(alive.values()) + sum(prod(step.layer.out_shape) for step in behind)
