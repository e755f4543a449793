"""Exchanges of one process that are as slow as with many over a link, or note what passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from scaling_model import Link

from cnn_cli.nn.types import Array


def wait(seconds: float) -> None:
    """Wait, exactly; the core is kept busy, as MPI would."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class Delayed:
    """An `Exchange` with ranks that all have the same share of a batch.

    What is gathered is as many copies of the own array, so that combining them costs what it
    costs; sums are left as they are, and are there when the link would have brought them, one
    after the other.

    Args:
        size: ranks, this one included.
        clock, sleep: of seconds.
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
    """What a step's exchange consists of, in bytes that one rank has.

    Attributes:
        forward: gathered at each barrier of the forward pass.
        backward: of each segment, the last one first: its sums, and what is gathered behind it (0
            where nothing is).
    """

    forward: list[int] = field(default_factory=list)
    backward: list[tuple[tuple[int, ...], int]] = field(default_factory=list)


class Noted(Delayed):
    """Notes the bytes of what passes through it.

    Attributes:
        passed: of sums as they are, of gathers as negative numbers.
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
        """What is done meanwhile is one step, whose messages are known at the end."""
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
