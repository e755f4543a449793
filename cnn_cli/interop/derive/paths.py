"""The ways between two tensors of a network, and where they meet.

A tensor that every way from the image to another one goes through is a place where a list of layers
can be cut (a dominator: Lengauer and Tarjan 1979).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cnn_cli.interop.foreign import INPUT, Op


class Paths:
    """The ways through a network.

    Attributes:
        last: for each op the last tensor, before its output, that all ways from the image go
            through.
    """

    def __init__(self, ops: Sequence[Op]) -> None:
        self._ops = ops
        self.last: list[int] = []
        self._depths: list[int] = []
        for op in ops:
            common, *others = op.inputs
            for other in others:
                common = self.common(common, other)
            self.last.append(common)
            self._depths.append(self._depth(common) + 1)

    def common(self, one: int, other: int) -> int:
        """The last tensor that all ways to both go through; it may be one of them."""
        while one != other:
            if self._depth(one) >= self._depth(other):
                one = self.last[one]
            else:
                other = self.last[other]
        return one

    def _depth(self, tensor: int) -> int:
        return 0 if tensor == INPUT else self._depths[tensor]

    def _region(self, end: int, start: int) -> set[int]:
        """The ops on all ways between two tensors, the last one among them."""
        found: set[int] = set()
        ahead = [end]
        while ahead:
            op = ahead.pop()
            if op != start and op not in found:
                found.add(op)
                ahead += self._ops[op].inputs
        return found

    def joins(self, end: int, start: int) -> list[int]:
        """The ops between two tensors where ways meet that part at the first one."""
        last = self.last
        region = self._region(end, start)
        return sorted(op for op in region if len(self._ops[op].inputs) > 1 and last[op] == start)

    def is_tree(self, end: int, start: int) -> bool:
        """Whether each way between two tensors leads to one place where it meets others."""
        counts: Counter[int] = Counter()
        for join in self.joins(end, start):
            op = self._ops[join]
            runs = self._runs(op.inputs, start) if op.kind == "concat" else list(op.inputs)
            if runs is None:
                return False
            counts.update(self._first(each, start) for each in runs if each != start)
        return all(count == 1 for count in counts.values())

    def _runs(self, ends: Sequence[int], start: int) -> list[int] | None:
        """One of each run of neighbors that have a part of their way in common; None where
        others than neighbors have.
        """
        firsts = [start if end == start else self._first(end, start) for end in ends]
        found = []
        for i, first in enumerate(firsts):
            if first == start or i == 0 or firsts[i - 1] != first:
                found.append(ends[i])
        kept = [self._first(each, start) for each in found if each != start]
        if len(set(kept)) < len(kept):
            return None
        for first in kept:
            group = [end for end, each in zip(ends, firsts, strict=True) if each == first]
            if len(group) > 1:
                common = group[0]
                for other in group[1:]:
                    common = self.common(common, other)
                if self._runs(group, common) is None:
                    return None
        return found

    def _first(self, tensor: int, start: int) -> int:
        """The first tensor behind `start` that all ways to another one go through."""
        while self.last[tensor] != start:
            tensor = self.last[tensor]
        return tensor
