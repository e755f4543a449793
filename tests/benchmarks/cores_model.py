"""Model of the time of a training step on more cores of one computer than are available.

    processes: step = fixed + images per process x per image x (1 + contention x (N - 1))
                      + exchange x log2 N
    threads:   N threads that need one lock for Python, and compute without it in between

Threads are a closed queueing network: each computes without the lock, waits for it, and holds it.
Mean value analysis (Reiser and Lavenberg 1980) gives the time of a cycle of N threads from the
queue that N - 1 threads make. A thread that has waited must be woken, which takes time as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a network, measured on one and two cores, in seconds unless stated otherwise.

    Attributes:
        fixed: of a step of one process, without images; the optimizer included.
        per_image: of an image.
        python: lock held for a chunk of images.
        chunks: number of chunks on one core; more threads have at least one each.
        contention: by what share one more core that computes slows the others down.
        exchange: what the exchange adds to a step of two processes.
        wake: time to wake a waiting thread, as a multiple of the time that the lock is held.
    """

    fixed: float
    per_image: float
    python: float
    chunks: int
    contention: float
    exchange: float
    wake: float = 0.0

    def with_wake(self, batch: int, seconds: float) -> Costs:
        """Return the costs with which two threads take that time for a step; 0 if they cannot take
        so little.
        """
        low, high = 0.0, 1e4
        for _ in range(60):
            wake = (low + high) / 2
            if threads_step(replace(self, wake=wake), batch, 2) < seconds:
                low = wake
            else:
                high = wake
        return replace(self, wake=low)


def processes_step(costs: Costs, batch: int, cores: int) -> float:
    """Return the seconds of a step of one process per core."""
    return costs.fixed + _images(costs, batch, cores) + costs.exchange * log2(cores)


def threads_step(costs: Costs, batch: int, cores: int) -> float:
    """Return the seconds of a step of one thread per core."""
    lock = costs.python * max(costs.chunks, cores) / cores
    alone = costs.fixed + _images(costs, batch, cores)
    return cycle(max(0.0, alone - lock), lock, costs.wake, cores)


def cycle(free: float, lock: float, wake: float, threads: int) -> float:
    """Return the seconds in which each of some threads computes and holds the lock once.

    Args:
        free: seconds without the lock.
        lock: seconds that it is held.
        wake: see `Costs`.
        threads: their number.
    """
    queue = whole = 0.0
    for count in range(1, threads + 1):
        held = lock * (1 + queue)
        whole = free + held + wake * lock * min(1.0, queue)
        queue = count * held / whole
    return whole


def _images(costs: Costs, batch: int, cores: int) -> float:
    """Return the seconds that a core computes its images beside the others."""
    return costs.per_image * batch / cores * (1 + costs.contention * (cores - 1))
