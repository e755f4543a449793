"""A team of threads: NumPy releases the GIL, so threads scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from queue import SimpleQueue

import numpy as np

from cnn_cli.portable import address_space_left
from cnn_cli.threads import start_thread

Job = Callable[[int], None]

BUFFER = 1024
"""NumPy's buffer size in elements: several buffers of the default, 8192, do not fit the first-level
cache.
"""


class Team:
    """A fixed number of workers; the calling thread is worker 0.

    The other threads are daemons, so they never keep the process alive. If the system refuses to
    start one, the calling thread does its work too, with the same results.
    """

    def __init__(self, size: int) -> None:
        _take_openblas_buffer()
        self.size = size
        self._queues: list[SimpleQueue[Job | None]] = [SimpleQueue() for _ in range(size - 1)]
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        for number, queue in enumerate(self._queues, start=1):
            args = (number, queue, self._done)
            if not start_thread(_serve, args, f"cnn-worker-{number}"):
                del self._queues[number - 1 :]
                break

    def run(self, job: Job) -> None:
        """Call `job(worker)` on every worker and wait for all.

        Raises:
            BaseException: the first one raised by a worker, after all have ended.
        """
        for queue in self._queues:
            queue.put(job)
        error: BaseException | None = None
        try:
            with _settings():
                job(0)
                for number in range(len(self._queues) + 1, self.size):
                    job(number)
        except BaseException as caught:
            error = caught
        for _ in self._queues:
            error = self._done.get() or error
        if error is not None:
            raise error

    def share(self, count: int, act: Callable[[int, int], None]) -> None:
        """Call `act(first, end)` for one part of `count` on each worker, and wait for all."""
        size = self.size
        self.run(lambda worker: act(count * worker // size, count * (worker + 1) // size))

    def alone(self, job: Job) -> None:
        """Call `job(0)` on the calling thread, while the others may be given parts by `share`."""
        with _settings():
            job(0)

    def close(self) -> None:
        """End the threads."""
        for queue in self._queues:
            queue.put(None)


@cache
def _take_openblas_buffer() -> None:
    """Make OpenBLAS allocate the calling thread's buffer, which it keeps: with limited address
    space, images may take the last of it before the first product.
    """
    if address_space_left() is not None:
        many = np.zeros((256, 256), np.float32)  # smaller products need no buffer
        many @ many


@contextmanager
def _settings() -> Iterator[None]:
    """NumPy's settings during a job; each thread has its own.

    Overflow in a diverging network shows in its loss, in one line instead of warnings.
    """
    with np.errstate(all="ignore"):  # errstate also restores the other settings
        np.setbufsize(BUFFER)
        yield


def _serve(
    number: int, queue: SimpleQueue[Job | None], done: SimpleQueue[BaseException | None]
) -> None:
    while (job := queue.get()) is not None:
        try:
            with _settings():
                job(number)
        except BaseException as error:
            done.put(error)
        else:
            done.put(None)
        del job  # it refers to the batch
