"""The processes of one job: this one alone, or as many as `mpiexec` started.

Nothing of MPI is imported before there is a second process.
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

# Variables that a starter sets to how many processes it started: Hydra (MPICH, Intel), Slurm's
# PMI and MVAPICH, then Open MPI. PMIx names none: there Slurm's count of tasks stands in.
COUNTS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
NUMBERS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


class Ranks(Protocol):
    """A job's processes; each is called a rank. It can be an engine's `nn.exchange.Exchange`.

    All ranks make the same calls in the same order, each on its main thread. While one waits for
    the others, signals are answered.

    Attributes:
        rank: this process's number, from 0.
        size: how many there are.
        neighbours: how many are on this machine, this one included.
    """

    rank: int
    size: int
    neighbours: int

    def threads(self, cores: int) -> int:
        """This rank's part of the cores it may use, if it shares them with others; at least 1."""

    def first(self, make: Callable[[], T]) -> T:
        """What `make` gives on rank 0, where alone it is called; a copy on the others."""

    def first_here(self, make: Callable[[], T]) -> T:
        """The same among the ranks of this machine, each of which asks the first one of them."""

    def bring(self, value: T) -> list[T]:
        """All ranks' values, in their order, on rank 0; an empty list on the others."""

    def gather(self, numbers: Array) -> Array:
        """(size, *shape): all ranks' arrays, in their order; they are of one shape and type."""

    def start_sum(self, numbers: Array) -> None:
        """Begin to replace a contiguous array, in place, by the sum over all ranks."""

    def keep_going(self) -> None:
        """Let the sums that are under way move on; returns at once."""

    def finish_sums(self) -> None:
        """Wait until all sums that were begun are there: the same bits on every rank."""

    def end(self, number: int, enough: Callable[[], bool]) -> list[int] | None:
        """Tell the others a number, as the exit code, when this process is about to exit.

        They may be in the middle of anything else.

        Args:
            number: for the others.
            enough: whether to wait no longer for theirs; asked again and again.

        Returns:
            All ranks' numbers; None where somebody is still at work.
        """

    def close(self, code: int) -> None:
        """Say that there is nothing more to say, once all have ended, with that exit code."""

    def abort(self, code: int) -> None:
        """End all ranks at once, with that exit code; does not return where there are others."""


class Alone:
    """There is no other process."""

    rank = 0
    size = 1
    neighbours = 1

    def threads(self, cores: int) -> int:
        return cores

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


def started_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes of this job there are, as what started it says; 1 where nothing does."""
    names = (*COUNTS, "SLURM_STEP_NUM_TASKS") if "PMIX_RANK" in environment else COUNTS
    return _first_number(environment, names, 1)


def started_as(environment: Mapping[str, str] = os.environ) -> int:
    """Which of them this one is, from 0."""
    return _first_number(environment, NUMBERS, 0)


def _first_number(environment: Mapping[str, str], names: Sequence[str], otherwise: int) -> int:
    values = (environment.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdecimal()), otherwise)


def open_ranks() -> Ranks:
    """The processes of this job.

    Raises:
        UsageError: there are several, and no mpi4py to talk through, or one of another MPI.
    """
    count = started_ranks()
    if count <= 1:
        return Alone()
    if find_spec("mpi4py") is None:
        rule = "several processes need mpi4py; install it with pip install 'cnn-cli[mpi]'"
        raise UsageError("mpiexec", rule)
    from cnn_cli.parallel.mpi import MpiRanks

    return MpiRanks.open(count)
