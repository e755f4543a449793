"""Model of the time of a training step on more ranks than are available.

    step = fixed + images x per image          a rank's share, forward and backward
         + gathers                             statistics, for which every rank waits
         + late sums                           after the last segment's backward pass
         + optimizer

A gather takes ⌈log2 P⌉ latencies and transfers the arrays of the P - 1 other ranks; combining takes
some time for each of them. A sum over P ranks takes 2·⌈log2 P⌉ latencies and transfers 2·(P - 1)/P
of its bytes (Rabenseifner's algorithm; Thakur, Rabenseifner and Gropp 2005). A segment's sums begin
when its backward pass and the previous sums have ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2


@dataclass(frozen=True, slots=True)
class Link:
    """The connection between ranks.

    Attributes:
        latency: seconds until the first byte of a message arrives.
        bandwidth: bytes per second in each direction.
    """

    latency: float
    bandwidth: float

    def gather(self, size: int, ranks: int) -> float:
        """Return the seconds until every rank has all ranks' arrays of that size."""
        return ceil(log2(ranks)) * self.latency + (ranks - 1) * size / self.bandwidth

    def sum(self, size: int, ranks: int) -> float:
        """Return the seconds until every rank has the sum of arrays of that size."""
        moved = 2 * (ranks - 1) / ranks * size
        return 2 * ceil(log2(ranks)) * self.latency + moved / self.bandwidth


@dataclass(frozen=True, slots=True)
class Part:
    """The backward pass of a segment.

    Attributes:
        share: fraction of the time of forward and backward.
        sums: bytes of each of its sums.
        gather: bytes that a rank sends at the following barrier; 0 without one.
    """

    share: float
    sums: tuple[int, ...]
    gather: int


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a network measured on one rank, in seconds.

    Attributes:
        fixed, per_image: forward and backward.
        combine: per rank's array in a gather.
        optimizer: the update.
        forward_gathers: bytes that a rank sends at each barrier of the forward pass.
        backward: the segments, last first.
    """

    fixed: float
    per_image: float
    combine: float
    optimizer: float
    forward_gathers: tuple[int, ...]
    backward: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class StepTime:
    """The parts of a step, in seconds.

    Attributes:
        compute: forward and backward.
        gathers: for which every rank waits.
        late: between the end of the backward pass and the end of the sums.
        optimizer: the update.
    """

    compute: float
    gathers: float
    late: float
    optimizer: float

    @property
    def total(self) -> float:
        return self.compute + self.gathers + self.late + self.optimizer


def step_time(costs: Costs, link: Link, ranks: int, images: float) -> StepTime:
    """Return the time of a step on several ranks.

    Args:
        images: images per rank.
    """

    def gather(size: int) -> float:
        return link.gather(size, ranks) + ranks * costs.combine if size else 0.0

    compute = costs.fixed + images * costs.per_image
    if ranks == 1:
        return StepTime(compute, 0.0, 0.0, costs.optimizer)
    now = sums_end = 0.0
    backward_gathers = 0.0
    for part in costs.backward:
        now += part.share * compute
        sums_end = max(sums_end, now) + sum(link.sum(size, ranks) for size in part.sums)
        waited = gather(part.gather)
        now += waited
        backward_gathers += waited
    gathers = sum(gather(size) for size in costs.forward_gathers) + backward_gathers
    return StepTime(compute, gathers, max(0.0, sums_end - now), costs.optimizer)
