"""Ranks that one process starts on its own computer, and that talk through memory they share.

The memory is a file without a name, which the system frees when the last of them has ended, however
that was. A rank announces a turn when it has written its part; it reads the others' when all have
announced the same one. Two areas alternate: what is written next lies in the one that everybody has
read, since everybody has announced the turn after it.

As over MPI, every wait looks again and again, so that signals are answered.
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
from cnn_cli.parallel.ranks import COUNT, DESCRIPTORS, NUMBER, PROCESSES, JobEnded, part_of
from cnn_cli.parallel.waiting import pause
from cnn_cli.portable import end_with_parent, reserve, shared_memory
from cnn_cli.threads import start_thread

T = TypeVar("T")

PIECE = 2**18
"""Bytes that a rank writes in one turn: the pieces of two to four stay in a second-level cache."""
LINE = 16
"""Numbers of a rank's own in the memory's head, in cache lines that no other rank writes."""
TURNS, ENDINGS, ABORTED, NUMBERS = 0, 1, 2, 8
"""What they are, by place: turns announced, calls of `end`, whether it ends the job without them,
and from the last place on what it said in each call of `end`."""
QUICK = 16  # polls of memory, which together take as long as one of MPI
LAST = 5.0  # seconds that a rank with nothing left to do may take to end
SIGNALS = 128
"""A greater exit code tells of a signal."""


class ProcessRanks:
    """See `ranks.Ranks`.

    Args:
        rank, size: of this process, and of how many.
        memory: shared by all of them.
        workers: on rank 0 the others, in order.
        lifeline: on rank 0 the end of a pipe, at whose closing the others end.
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
        self.size = self.neighbours = self.processes = size
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
        """Start all but this process, which is rank 0.

        Args:
            count: of processes, this one included.
            command: that each of the others runs.

        Raises:
            DataError: the system does not let them be started.
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
        """In a process that `start` started: be one of them, until the first one ends.

        Signals are held back until `take_signals`.
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
        """Nothing is under way: adding takes this process's own time, now or at the end."""

    def finish_sums(self) -> None:
        for dtype in dict.fromkeys(each.dtype for each in self._sums):
            arrays = [each for each in self._sums if each.dtype == dtype]
            for parts in packed(arrays, PIECE // dtype.itemsize):
                self._sum(parts)
        self._sums.clear()

    def _sum(self, parts: Sequence[Array]) -> None:
        """Sum what fits into one piece: each rank adds its part of it, in the order of ranks."""
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
        """Exchange `size` bytes of all ranks, piece by piece: (size, PIECE), and how many count.

        Args:
            data: this rank's, which may be less.
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
        """(size, PIECE) bytes for the turn that comes; each rank writes its row."""
        area: Array = self._areas[self._turn % 2]
        return area

    def _meet(self) -> None:
        """Announce a turn, and wait until all have."""
        self._turn += 1
        self._announce(TURNS, self._turn)
        self._wait(TURNS, self._turn, self._look_after)

    def _announce(self, what: int, count: int) -> None:
        """Count for the others to see, behind what this rank has written before."""
        self._order()
        self._head[self._own + what] = count

    def _wait(self, what: int, count: int, enough: Callable[[], bool]) -> bool:
        """Wait until all ranks have counted so far, or until it is enough; whether they have."""
        head, polls = self._head, 0
        for line in self._lines:
            while head[line + what] < count:
                polls += 1
                if polls % QUICK == 0 and pause(polls // QUICK) and enough():
                    return False
        self._order()
        return True

    def _order(self) -> None:
        """Keep the processor from moving what it reads and writes across this.

        x86 would not; ARM may, but not before what stands behind taking a lock, nor behind what
        stands before letting go of one.
        """
        for _ in range(2):
            with self._fence:
                pass

    def _look_after(self) -> bool:
        """Whether to wait no longer: never.

        Raises:
            JobEnded: a worker has ended the job, and has said why.
            DataError: one was killed.
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
        """Whether nobody is to be waited for by a rank that has ended: a signal ended the first
        one, a worker is gone, or those still at work wait for what the others will not say.

        Of several that have failed the first one is told so.

        Args:
            number: what this rank has said.
        """
        head, call = self._head, self._endings - 1
        at_work = [line for line in self._lines if head[line + ENDINGS] <= call]
        if self.rank == 0:
            gone = [
                line
                for line, worker in zip(self._lines[1:], self._workers, strict=True)
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
    """In a process that was started: answer signals from now on, those as well that came before."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def memory_size(count: int) -> int:
    """Bytes that so many ranks share."""
    return count * (8 * LINE + 2 * PIECE)


def end_at_closing(lifeline: int) -> None:
    """Wait, on a thread, until the other end of a pipe is closed, and end this process."""
    with suppress(OSError):
        os.read(lifeline, 1)
    signal.raise_signal(signal.SIGKILL)


def packed(arrays: Sequence[Array], most: int) -> Iterator[list[Array]]:
    """Flat arrays one behind the other, cut where so many numbers are together."""
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
    """How a process ended, of which `Popen` says so."""
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
