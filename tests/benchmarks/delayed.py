"""Exchanges in one process that simulate the delays of many processes, or record messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from scaling_model import Link

from cnn_cli.nn.types import Array


def wait(seconds: float) -> None:
    """Wait exactly, keeping the core busy, as MPI would."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class Delayed:
    """An `Exchange` with simulated ranks that all have the same share of a batch.

    A gather returns copies of the own array, so that combining them takes the real time. Sums leave
    the array unchanged and complete when the link would have transferred them, one after another.

    Args:
        size: number of ranks, including this one.
        clock, sleep: in seconds.
    """

    def __init__(
        self,
        link: Link,
        size: int,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self.size = size
        self._link = link
        self._clock = clock
        self._sleep = sleep
        self._sums_end = 0.0

    def gather(self, numbers: Array) -> Array:
        self._sleep(self._link.gather(numbers.nbytes, self.size))
        return np.repeat(numbers[None], self.size, axis=0)

    def start_sum(self, numbers: Array) -> None:
        begin = max(self._clock(), self._sums_end)
        self._sums_end = begin + self._link.sum(numbers.nbytes, self.size)

    def keep_going(self) -> None: ...

    def finish_sums(self) -> None:
        late = self._sums_end - self._clock()
        if late > 0:
            self._sleep(late)


@dataclass
class Messages:
    """The messages of a step, in bytes per rank.

    Attributes:
        forward: gathered at each barrier of the forward pass.
        backward: for each segment, last first: its sums, and what is gathered after it (0 for
            nothing).
    """

    forward: list[int] = field(default_factory=list)
    backward: list[tuple[tuple[int, ...], int]] = field(default_factory=list)


class Noted(Delayed):
    """Records the bytes of its messages.

    Attributes:
        passed: bytes of sums as positive, of gathers as negative numbers.
    """

    passed: list[int]

    def gather(self, numbers: Array) -> Array:
        self.passed.append(-numbers.nbytes)
        return super().gather(numbers)

    def start_sum(self, numbers: Array) -> None:
        self.passed.append(numbers.nbytes)
        super().start_sum(numbers)

    @contextmanager
    def one_step(self) -> Iterator[Messages]:
        """Context of one step, whose messages are known at the end."""
        self.passed = []
        messages = Messages()
        yield messages
        barriers = sum(size < 0 for size in self.passed) // 2
        messages.forward = [-size for size in self.passed[:barriers]]
        sums: list[int] = []
        for size in [*self.passed[barriers:], 0]:
            if size > 0:
                sums.append(size)
            else:
                messages.backward.append((tuple(sums), -size))
                sums = []
