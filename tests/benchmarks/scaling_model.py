"""How long a training step takes on more ranks than there are here.

    step = fixed + images x per image          a rank's share, forward and backward
         + gathers                             statistics, which every rank waits for
         + what sums are late                  after the last segment's backward pass
         + optimizer

A gather takes ⌈log2 P⌉ latencies and brings the arrays of the P - 1 others; what is then combined
takes some time for each of them. A sum over P ranks takes 2·⌈log2 P⌉ latencies and moves
2·(P - 1)/P of its bytes (Rabenseifner's algorithm; Thakur, Rabenseifner and Gropp 2005).
A segment's sums begin when its backward pass has ended and the sums before it have.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2


@dataclass(frozen=True, slots=True)
class Link:
    """What joins the ranks.

    Attributes:
        latency: seconds until the first byte of a message is there.
        bandwidth: bytes a second, each way.
    """

    latency: float
    bandwidth: float

    def gather(self, size: int, ranks: int) -> float:
        """Seconds until every rank has everyone's array of so many bytes."""
        return ceil(log2(ranks)) * self.latency + (ranks - 1) * size / self.bandwidth

    def sum(self, size: int, ranks: int) -> float:
        """Seconds until every rank has the sum of arrays of so many bytes."""
        moved = 2 * (ranks - 1) / ranks * size
        return 2 * ceil(log2(ranks)) * self.latency + moved / self.bandwidth


@dataclass(frozen=True, slots=True)
class Part:
    """The backward pass of a segment.

    Attributes:
        share: of the time of forward and backward.
        sums: bytes of each of its sums.
        gather: bytes that a rank sends at the barrier behind it; 0 without one.
    """

    share: float
    sums: tuple[int, ...]
    gather: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured of a network on one rank; times are seconds.

    Attributes:
        fixed, per_image: forward and backward.
        combine: at a gather, for each rank's array.
        optimizer: a step of it.
        forward_gathers: bytes that a rank sends at each barrier of the forward pass.
        backward: of the segments, the last one first.
    """

    fixed: float
    per_image: float
    combine: float
    optimizer: float
    forward_gathers: tuple[int, ...]
    backward: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of a step.

    Attributes:
        compute: forward and backward.
        gathers: that every rank waits for.
        late: from the end of the backward pass to the end of the sums.
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
    """A step of several ranks.

    Args:
        images: of each rank.
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
