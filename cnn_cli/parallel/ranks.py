"""The processes of one job: only this one, as many as `mpiexec` started, or those that this program
started itself (`processes`).

MPI is imported only if there is more than one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeVar

from cnn_cli.errors import UsageError

if TYPE_CHECKING:
    from cnn_cli.nn.types import Array

T = TypeVar("T")

DESCRIPTORS, COUNT, NUMBER = "CNN_DESCRIPTORS", "CNN_PROCESSES", "CNN_PROCESS"
"""Environment variables of a worker process that this program started: its open files (the shared
memory and the lifeline), the number of processes, and its own number.
"""
PROCESSES = "train.processes"
"""The config key that asks for worker processes."""
# Environment variables with the number of processes: of this program, Hydra (MPICH, Intel), Slurm's
# PMI and MVAPICH, then Open MPI. PMIx has none, so Slurm's task count is used.
COUNTS = (COUNT, "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
NUMBERS = (NUMBER, "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


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


class Foreseen(Alone):
    """So many processes that are not started: what `processes` would be, for a plan."""

    def __init__(self, count: int) -> None:
        self.size = self.neighbors = self.processes = count


def part_of(cores: int, processes: int) -> int:
    """A process's part of the cores that so many share; at least 1."""
    return max(1, cores // processes)


def started_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes of this job, as the launcher reports it; 1 without a
    launcher.
    """
    names = (*COUNTS, "SLURM_STEP_NUM_TASKS") if "PMIX_RANK" in environment else COUNTS
    return _first_number(environment, names, 1)


def started_as(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process among them, from 0."""
    return _first_number(environment, NUMBERS, 0)


def _first_number(environment: Mapping[str, str], names: Sequence[str], otherwise: int) -> int:
    values = (environment.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdecimal()), otherwise)


def is_worker(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether another process of this program started this one, to work with it."""
    return DESCRIPTORS in environment


def open_ranks() -> Ranks:
    """Return the ranks of this job.

    Raises:
        UsageError: there are several, and mpi4py is missing or uses another MPI.
    """
    count = started_ranks()
    if count <= 1:
        return Alone()
    if find_spec("mpi4py") is None:
        rule = "several processes need mpi4py; install it with pip install 'cnn-cli[mpi]'"
        raise UsageError("mpiexec", rule)
    from cnn_cli.parallel.mpi import MpiRanks

    return MpiRanks.open(count)
