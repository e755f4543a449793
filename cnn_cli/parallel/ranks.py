"""The processes of one job, as the program sees them: only this one, those that `mpiexec` started
(`mpi`), or those that this program started itself (`processes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from cnn_cli.nn.types import Array

T = TypeVar("T")

PROCESSES = "train.processes"
"""The config key that asks for worker processes."""


class JobEnded(BaseException):
    """Another rank has ended the job and printed why.

    Attributes:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Ranks(Protocol):
    """The processes of a job, called ranks. Implements an engine's `nn.exchange.Exchange`.

    All ranks make the same calls in the same order, each on its main thread. Signals are handled
    while a rank waits for others.

    Attributes:
        rank: number of this process, from 0.
        size: number of ranks.
        neighbors: number of ranks on this machine, including this one.
        processes: number of ranks that one command line started; its limits hold for their total.
    """

    rank: int
    size: int
    neighbors: int
    processes: int

    def threads(self, cores: int) -> int:
        """Return this rank's share of the cores, if it shares them with other ranks; at least 1."""

    def first(self, make: Callable[[], T]) -> T:
        """Call `make` on rank 0 only; return its result on rank 0 and copies on the others."""

    def first_here(self, make: Callable[[], T]) -> T:
        """Call `make` on the first rank of each machine only; return its result on all of them."""

    def bring(self, value: T) -> list[T]:
        """Return all ranks' values, in order, on rank 0; an empty list on the others."""

    def gather(self, numbers: Array) -> Array:
        """Return (size, *shape): all ranks' arrays, in order, of one shape and dtype."""

    def start_sum(self, numbers: Array) -> None:
        """Start replacing a contiguous array, in place, by its sum over all ranks."""

    def keep_going(self) -> None:
        """Progress the started sums; returns at once."""

    def finish_sums(self) -> None:
        """Wait until all started sums are complete: the same bits on every rank."""

    def end(self, number: int, enough: Callable[[], bool]) -> list[int] | None:
        """Send the other ranks a number, such as the exit code, when this process is about to exit.

        The others may be in the middle of anything else.

        Args:
            number: the number to send.
            enough: polled: whether to stop waiting for the others' numbers.

        Returns:
            All ranks' numbers; None if some rank is still working.
        """

    def close(self, code: int) -> None:
        """Finish communication once all ranks have ended, with that exit code."""

    def abort(self, code: int) -> None:
        """End all ranks at once with that exit code; if it returns, the caller exits with it."""


class Alone:
    """A single process."""

    rank = 0
    size = 1
    neighbors = 1
    processes = 1

    def threads(self, cores: int) -> int:
        return part_of(cores, self.size)

    def first(self, make: Callable[[], T]) -> T:
        return make()

    def first_here(self, make: Callable[[], T]) -> T:
        return make()

    def bring(self, value: T) -> list[T]:
        return [value]

    def gather(self, numbers: Array) -> Array:
        return numbers[None]

    def start_sum(self, numbers: Array) -> None: ...

    def keep_going(self) -> None: ...

    def finish_sums(self) -> None: ...

    def end(self, number: int, enough: Callable[[], bool]) -> list[int] | None:
        return [number]

    def close(self, code: int) -> None: ...

    def abort(self, code: int) -> None: ...


ALONE = Alone()


class PlannedRanks(Alone):
    """So many processes that are not started: what `processes` would be, for a plan."""

    def __init__(self, count: int) -> None:
        self.size = self.neighbors = self.processes = count


def part_of(cores: int, processes: int) -> int:
    """A process's part of the cores that so many share; at least 1."""
    return max(1, cores // processes)
