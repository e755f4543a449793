"""Daemon threads that read images, and waits for them that handle signals.

Python waits for the threads of `concurrent.futures.ThreadPoolExecutor` at exit, however long a read
from a network drive takes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from cnn_cli.data.formats import import_common
from cnn_cli.threads import start_thread

T = TypeVar("T")

LOOK = 0.5  # seconds
"""The longest single wait of the main thread: a signal that reaches another thread, or arrives just
before the wait, does not end the wait and is handled after it.
"""

Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Answer(Future[T]):
    """A result that a thread will deliver. Signals are handled during the wait."""

    def result(self, timeout: float | None = None) -> T:
        self._wait(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        return super().exception(timeout)

    def _wait(self, timeout: float | None) -> None:
        while timeout is None and not self.done():
            with suppress(TimeoutError):
                super().exception(LOOK)


def take(queue: SimpleQueue[T]) -> T:
    """Return the next item of a queue. Signals are handled during the wait."""
    while True:
        with suppress(Empty):
            return queue.get(timeout=LOOK)


class Pool:
    """Daemon threads that call functions; a context manager that ends them.

    Args:
        threads: number of threads, at least 1. If the system refuses some, the others do the work;
            if it refuses all, the calling thread does.
    """

    def __init__(self, threads: int) -> None:
        if threads > 1:
            import_common()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._started = 0
        while self._started < threads and start_thread(
            _work, (self._jobs,), f"data-{self._started}"
        ):
            self._started += 1
        self.threads = max(1, self._started)

    def submit(self, function: Callable[..., T], *args: object) -> Future[T]:
        """Call ``function(*args)`` on a thread."""
        future: Answer[T] = Answer()
        self._jobs.put((future, function, args))
        if not self._started:
            self._jobs.put(None)
            _work(self._jobs)
        return future

    def run(self, function: Callable[..., object], *args: object) -> None:
        """Call ``function(*args)`` on every thread, and wait until all have returned.

        Raises:
            Exception: the first exception, once all calls have ended.
        """
        futures = [self.submit(function, *args) for _ in range(self.threads)]
        errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        """Make the threads end after their current and queued work, without waiting."""
        for _ in range(self.threads):
            self._jobs.put(None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        future, function, args = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)
        del job, future, function, args
