"""The paths between two tensors of a network, and where they meet.

A tensor on every path from the image to another one (a dominator: Lengauer and Tarjan 1979) is a
bottleneck, at which a list of layers can be split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cnn_cli.interop.foreign import INPUT, Op


class Paths:
    """The paths through a network.

    Attributes:
        last: for each op, its immediate dominator: the last tensor, before its output, on all paths
            from the image.
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
        """Return the last tensor on all paths to both; it may be one of them."""
        while one != other:
            if self._depth(one) >= self._depth(other):
                one = self.last[one]
            else:
                other = self.last[other]
        return one

    def _depth(self, tensor: int) -> int:
        return 0 if tensor == INPUT else self._depths[tensor]

    def _region(self, end: int, start: int) -> set[int]:
        """Return the ops on all paths between two tensors, including the last."""
        found: set[int] = set()
        ahead = [end]
        while ahead:
            op = ahead.pop()
            if op != start and op not in found:
                found.add(op)
                ahead += self._ops[op].inputs
        return found

    def joins(self, end: int, start: int) -> list[int]:
        """Return the ops between two tensors where paths meet that part at the first one."""
        last = self.last
        region = self._region(end, start)
        return sorted(op for op in region if len(self._ops[op].inputs) > 1 and last[op] == start)

    def is_tree(self, end: int, start: int) -> bool:
        """Whether the paths between two tensors meet only in a tree structure."""
        counts: Counter[int] = Counter()
        for join in self.joins(end, start):
            op = self._ops[join]
            runs = self._runs(op.inputs, start) if op.kind == "concat" else list(op.inputs)
            if runs is None:
                return False
            counts.update(self._first(each, start) for each in runs if each != start)
        return all(count == 1 for count in counts.values())

    def _runs(self, ends: Sequence[int], start: int) -> list[int] | None:
        """Return one of each run of adjacent tensors that share a part of their path; None if
        others share one.
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
        """Return the first tensor after `start` on all paths to another one."""
        while self.last[tensor] != start:
            tensor = self.last[tensor]
        return tensor
