"""Ranks that one process starts on its own computer, communicating through shared memory.

The memory is an unnamed file, which the system frees when the last rank has ended, for whatever
reason. A rank announces a turn after it has written its part, and reads the others' parts once all
have announced the same turn. Two areas alternate: the next part goes into the area that all ranks
have finished reading, because all have announced the turn after it.

As with MPI, every wait polls, so that signals are handled.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from cnn_cli.data.shards import bounds
from cnn_cli.errors import DataError, reason
from cnn_cli.nn.types import Array
from cnn_cli.parallel.launcher import COUNT, DESCRIPTORS, NUMBER
from cnn_cli.parallel.ranks import PROCESSES, JobEnded, part_of
from cnn_cli.parallel.waiting import pause
from cnn_cli.portable import end_with_parent, reserve, shared_memory
from cnn_cli.threads import start_thread

T = TypeVar("T")

PIECE = 2**18
"""Bytes that a rank writes in one turn: the pieces of two to four ranks fit in an L2 cache."""
LINE = 16
"""Numbers per rank in the head of the memory, in cache lines that no other rank writes."""
TURNS, ENDINGS, ABORTED, NUMBERS = 0, 1, 2, 8
"""Positions of these numbers: turns announced, calls of `end`, whether the rank aborts the job, and
from the last position on, the number given to each call of `end`."""
QUICK = 16  # polls of memory, which take as long as one poll of MPI
LAST = 5.0  # seconds that a rank with nothing left to do may take to end
SIGNALS = 128
"""Exit codes above this report a signal."""


class ProcessRanks:
    """See `ranks.Ranks`.

    Args:
        rank: this process's number.
        size: the number of processes.
        memory: the memory that they share.
        workers: on rank 0, the other processes, in order.
        lifeline: on rank 0, the writing end of a pipe; the other processes end when it closes.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        memory: mmap.mmap,
        workers: Sequence[subprocess.Popen[bytes]] = (),
        lifeline: int | None = None,
    ) -> None:
        self.rank = rank
        self.size = self.neighbors = self.processes = size
        self._workers = workers
        self._lifeline = lifeline
        head = size * LINE
        self._head = memoryview(memory)[: 8 * head].cast("q")
        self._areas = np.frombuffer(memory, np.uint8, 2 * size * PIECE, 8 * head)
        self._areas = self._areas.reshape(2, size, PIECE)
        self._lines = [other * LINE for other in range(size)]
        self._own = rank * LINE
        self._turn = 0
        self._endings = 0
        self._sums: list[Array] = []
        self._fence = threading.Lock()

    @classmethod
    def start(cls, count: int, command: Sequence[str]) -> ProcessRanks:
        """Start the other processes; this one is rank 0.

        Args:
            count: number of processes, including this one.
            command: command line of each of the others.

        Raises:
            DataError: the system cannot start them.
        """
        workers: list[subprocess.Popen[bytes]] = []
        nobody, lifeline = os.pipe()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with shared_memory("cnn-processes") as file:
                reserve(file.fileno(), memory_size(count))
                memory = mmap.mmap(file.fileno(), memory_size(count))
                given = (file.fileno(), nobody)
                for rank in range(1, count):
                    told = {NUMBER: rank, COUNT: count, DESCRIPTORS: "{} {}".format(*given)}
                    workers.append(
                        subprocess.Popen(
                            command,
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL,
                            env={**os.environ, **{name: str(it) for name, it in told.items()}},
                            pass_fds=given,
                        )
                    )
        except OSError as error:
            _kill(workers)
            os.close(lifeline)
            rule = "the system must let so many processes start"
            raise DataError(PROCESSES, rule, f"{count}: {reason(error)}") from error
        finally:
            os.close(nobody)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return cls(0, count, memory, workers, lifeline)

    @classmethod
    def join(cls, environment: Mapping[str, str] = os.environ) -> ProcessRanks:
        """Join the others, in a process that `start` started; it ends when rank 0 ends.

        Signals are blocked until `take_signals`.
        """
        descriptor, lifeline = map(int, environment[DESCRIPTORS].split())
        end_with_parent()
        start_thread(end_at_closing, (lifeline,), "cnn-lifeline")
        memory = mmap.mmap(descriptor, 0)
        os.close(descriptor)
        return cls(int(environment[NUMBER]), int(environment[COUNT]), memory)

    def threads(self, cores: int) -> int:
        return part_of(cores, self.size)

    def first(self, make: Callable[[], T]) -> T:
        value = make() if self.rank == 0 else None
        data = pickle.dumps(value) if self.rank == 0 else b""
        size = int(self.gather(np.array([len(data)]))[0, 0])
        found = b"".join(bytes(area[0, :n]) for area, n in self._pieces(data, size))
        copy: T = pickle.loads(found) if value is None else value
        return copy

    def first_here(self, make: Callable[[], T]) -> T:
        return self.first(make)

    def bring(self, value: T) -> list[T]:
        data = pickle.dumps(value)
        sizes = [int(size[0]) for size in self.gather(np.array([len(data)]))]
        found = [bytearray() for _ in sizes]
        for area, n in self._pieces(data, max(sizes)):
            for rank, row in enumerate(area):
                found[rank] += bytes(row[:n])
        if self.rank:
            return []
        others = zip(found[1:], sizes[1:], strict=True)
        return [value, *(pickle.loads(one[:size]) for one, size in others)]

    def gather(self, numbers: Array) -> Array:
        flat = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)
        gathered = np.empty((self.size, flat.size), np.uint8)
        start = 0
        for area, n in self._pieces(flat, flat.size):
            gathered[:, start : start + n] = area[:, :n]
            start += n
        return gathered.view(numbers.dtype).reshape(self.size, *numbers.shape)

    def start_sum(self, numbers: Array) -> None:
        self._sums.append(numbers.reshape(-1))

    def keep_going(self) -> None:
        """Do nothing: no sums run in the background."""

    def finish_sums(self) -> None:
        for dtype in dict.fromkeys(each.dtype for each in self._sums):
            arrays = [each for each in self._sums if each.dtype == dtype]
            for parts in packed(arrays, PIECE // dtype.itemsize):
                self._sum(parts)
        self._sums.clear()

    def _sum(self, parts: Sequence[Array]) -> None:
        """Sum what fits into one piece; each rank adds up its part of it, in rank order."""
        ends = np.cumsum([part.size for part in parts]).tolist()
        n, dtype = ends[-1], parts[0].dtype
        area = self._area().view(dtype)
        for part, end in zip(parts, ends, strict=True):
            area[self.rank, end - part.size : end] = part
        self._meet()
        mine = bounds(n, self.rank, self.size)
        total = self._area().view(dtype)[0]
        first, second, *others = area[:, mine]
        np.add(first, second, out=total[mine])
        for other in others:
            total[mine] += other
        self._meet()
        for part, end in zip(parts, ends, strict=True):
            part[...] = total[end - part.size : end]

    def end(self, number: int, enough: Callable[[], bool]) -> list[int] | None:
        call = self._endings
        self._endings += 1
        self._head[self._own + NUMBERS + call] = number
        self._announce(ENDINGS, self._endings)
        if not self._wait(ENDINGS, self._endings, lambda: enough() or self._in_vain(number)):
            return None
        return [self._head[line + NUMBERS + call] for line in self._lines]

    def close(self, code: int) -> None:
        until = time.monotonic() + LAST
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, until - time.monotonic()))
        self._end_workers()

    def abort(self, code: int) -> None:
        self._head[self._own + ABORTED] = 1
        self._end_workers()

    def _end_workers(self) -> None:
        _kill(self._workers)
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _pieces(self, data: bytes | Array, size: int) -> Iterator[tuple[Array, int]]:
        """Exchange `size` bytes of all ranks; yield (size, PIECE) bytes and how many are valid.

        Args:
            data: this rank's bytes; there may be fewer.
        """
        own = np.frombuffer(data, np.uint8)
        for start in range(0, size, PIECE):
            n = min(PIECE, size - start)
            part = own[start : start + n]
            area = self._area()
            area[self.rank, : part.size] = part
            self._meet()
            yield area, n

    def _area(self) -> Array:
        """Return (size, PIECE) bytes for the next turn; each rank writes its row."""
        area: Array = self._areas[self._turn % 2]
        return area

    def _meet(self) -> None:
        """Announce a turn, and wait until all ranks have announced it."""
        self._turn += 1
        self._announce(TURNS, self._turn)
        self._wait(TURNS, self._turn, self._look_after)

    def _announce(self, what: int, count: int) -> None:
        """Publish a count, ordered after everything this rank has written before."""
        self._order()
        self._head[self._own + what] = count

    def _wait(self, what: int, count: int, enough: Callable[[], bool]) -> bool:
        """Wait until all ranks have published this count, or `enough`; return whether they have."""
        head, polls = self._head, 0
        for line in self._lines:
            while head[line + what] < count:
                polls += 1
                if polls % QUICK == 0 and pause(polls // QUICK) and enough():
                    return False
        self._order()
        return True

    def _order(self) -> None:
        """Memory fence: no read or write moves across it.

        x86 needs none. ARM may reorder, but not across acquiring and releasing a lock.
        """
        for _ in range(2):
            with self._fence:
                pass

    def _look_after(self) -> bool:
        """Check the workers during a wait; always False.

        Raises:
            JobEnded: a worker has aborted the job, and has printed why.
            DataError: a worker was killed.
        """
        for line, worker in zip(self._lines[1:], self._workers, strict=False):
            code = worker.poll()
            if code is not None:
                if self._head[line + ABORTED]:
                    raise JobEnded(code)
                rule = "a worker process must not end before the others"
                raise DataError(PROCESSES, rule, f"one that ended {_manner(code)}")
        return False

    def _in_vain(self, number: int) -> bool:
        """Whether a rank that has ended need not wait for the others: a signal ended rank 0, a
        worker is gone, or the ranks still at work wait for an exchange that will not happen.

        If several ranks have failed, the first one prints its error.

        Args:
            number: the number that this rank gave to `end`.
        """
        head, call = self._head, self._endings - 1
        at_work = [line for line in self._lines if head[line + ENDINGS] <= call]
        if self.rank == 0:
            gone = [
                line
                for line, worker in zip(self._lines[1:], self._workers, strict=False)
                if line in at_work and worker.poll() is not None
            ]
            if gone or number > SIGNALS:
                return True
        if call or not at_work:
            return False
        earlier = (line for line in self._lines[: self.rank] if line not in at_work)
        if any(head[line + NUMBERS] for line in earlier):
            return False
        return all(head[line + TURNS] > self._turn for line in at_work)


def take_signals() -> None:
    """Unblock signals in a started process, including those that arrived before."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def memory_size(count: int) -> int:
    """Return the bytes that `count` ranks share."""
    return count * (8 * LINE + 2 * PIECE)


def end_at_closing(lifeline: int) -> None:
    """Wait on a thread until the other end of a pipe closes, then end this process."""
    with suppress(OSError):
        os.read(lifeline, 1)
    signal.raise_signal(signal.SIGKILL)


def packed(arrays: Sequence[Array], most: int) -> Iterator[list[Array]]:
    """Yield groups of flat arrays with `most` numbers each, splitting arrays where necessary."""
    parts: list[Array] = []
    room = most
    for array in arrays:
        start = 0
        while start < array.size:
            parts.append(array[start : start + room])
            start += parts[-1].size
            room -= parts[-1].size
            if not room:
                yield parts
                parts, room = [], most
    if parts:
        yield parts


def _kill(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait()


def _manner(code: int) -> str:
    """Return how a process with this `Popen` return code ended, in words."""
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
