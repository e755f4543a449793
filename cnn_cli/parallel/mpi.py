"""Ranks that communicate through MPI, with mpi4py on MPICH, Open MPI or another implementation.

Every wait polls for its message instead of blocking within MPI. So Python can handle signals, and
if there are more ranks than cores, the awaited rank gets a core.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from cnn_cli.errors import UsageError
from cnn_cli.nn.types import Array
from cnn_cli.parallel.ranks import part_of
from cnn_cli.parallel.waiting import PAUSE, pause
from cnn_cli.portable import cores

T = TypeVar("T")

LAST_WORDS = 0.3
"""Seconds: the output of a process passes through its launcher, which drops what it has not yet
forwarded when it ends all processes.
"""
UNTIL_ABORTED = 60.0  # seconds; another rank is about to end this one


class MpiRanks:
    """Ranks over MPI; see `ranks.Ranks`.

    Args:
        world: mpi4py's communicator of all ranks.
    """

    processes = 1

    def __init__(self, world: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._world = world
        # A separate communicator: some ranks may be in the middle of other messages.
        self._endings = world.Dup()
        self.rank: int = world.Get_rank()
        self.size: int = world.Get_size()
        self._here = world.Split_type(MPI.COMM_TYPE_SHARED)
        everywhere = self._here.allgather(cores())
        self.neighbors: int = self._here.Get_size()
        # A launcher that binds ranks to cores has already divided the cores.
        self._sharing = sum(not other.isdisjoint(cores()) for other in everywhere)
        self._sums: list[Any] = []
        # Requests in progress, also after a signal: MPI still writes to their arrays.
        self._under_way: list[Any] = []

    @classmethod
    def open(cls, count: int) -> MpiRanks:
        """Start MPI.

        Args:
            count: number of processes started.

        Raises:
            UsageError: mpi4py uses another MPI than the one that started the processes.
        """
        import mpi4py

        mpi4py.rc.thread_level = "funneled"
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            rule = f"mpi4py cannot load its MPI library ({str(error).splitlines()[0]})"
            raise UsageError("mpiexec", rule) from error
        found = MPI.COMM_WORLD.Get_size()
        if found != count:
            rule = f"must be of the MPI that mpi4py uses, to see {count} processes"
            raise UsageError("mpiexec", rule, found)
        return cls(MPI.COMM_WORLD)

    def threads(self, cores: int) -> int:
        return part_of(cores, max(self._sharing, 1))

    def first(self, make: Callable[[], T]) -> T:
        return self._first_of(self._world, make)

    def first_here(self, make: Callable[[], T]) -> T:
        return self._first_of(self._here, make)

    def _first_of(self, some: Any, make: Callable[[], T]) -> T:
        """Return what `make` returns on the first rank of a communicator."""
        leads = some.Get_rank() == 0
        value = make() if leads else None
        data = np.frombuffer(pickle.dumps(value), np.uint8) if leads else None
        size = np.array([0 if data is None else data.size])
        self._wait(some.Ibcast(size))
        if data is None:
            data = np.empty(size[0], np.uint8)
        self._wait(some.Ibcast(data))
        copy: T = pickle.loads(data.tobytes()) if value is None else value
        return copy

    def bring(self, value: T) -> list[T]:
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = [int(size[0]) for size in self.gather(np.array([data.size]))]
        if self.rank:
            self._wait(self._world.Isend(data, 0))
            return []
        others = [np.empty(size, np.uint8) for size in sizes[1:]]
        for number, other in enumerate(others, start=1):
            self._wait(self._world.Irecv(other, number))
        return [value, *(pickle.loads(other.tobytes()) for other in others)]

    def gather(self, numbers: Array) -> Array:
        numbers = np.ascontiguousarray(numbers)
        gathered = np.empty((self.size, *numbers.shape), numbers.dtype)
        self._wait(self._world.Iallgather(numbers, gathered))
        return gathered

    def start_sum(self, numbers: Array) -> None:
        self._sums.append(self._world.Iallreduce(self._mpi.IN_PLACE, numbers))

    def keep_going(self) -> None:
        if self._sums:
            self._mpi.Request.Testall(self._sums)

    def finish_sums(self) -> None:
        for request in self._sums:
            self._wait(request)
        self._sums.clear()

    def end(self, number: int, enough: Callable[[], bool]) -> list[int] | None:
        numbers = np.empty(self.size, np.int64)
        request = self._endings.Iallgather(np.array([number], np.int64), numbers)
        if not self._wait(request, enough):
            return None
        return [int(each) for each in numbers]

    def close(self, code: int) -> None:
        unmet = np.empty(self.size, np.bool_)
        own = np.array([bool(self._under_way or self._sums)])
        self._wait(self._endings.Iallgather(own, unmet))
        if not unmet.any():
            self._mpi.Finalize()
        elif self.rank == unmet.argmax():
            self.abort(code)  # MPI would wait for messages that never come
        else:
            time.sleep(UNTIL_ABORTED)
            self.abort(code)

    def abort(self, code: int) -> None:
        until = time.monotonic() + LAST_WORDS
        while time.monotonic() < until:
            self._mpi.Request.Testall(self._under_way)  # other ranks may still receive these
            time.sleep(PAUSE)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)  # MPI would add its own lines to the error
        self._world.Abort(code)

    def _wait(self, request: Any, enough: Callable[[], bool] = lambda: False) -> bool:
        """Poll a message until `enough`; return whether it came."""
        looks = 0
        self._under_way.append(request)
        while not request.Test():
            looks += 1
            pause(looks)
            if enough():
                return False
        self._under_way.pop()
        return True
