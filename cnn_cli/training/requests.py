"""Requests from outside to a running training: stop, or save now.

Signal handlers and the clock set them; the training loop checks them after each step. Waits and
repeatable work are interrupted immediately, see `Requests.at_once`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

StopReason = Literal["time limit", "terminated", "interrupted"]
T = TypeVar("T")


class StopNow(BaseException):
    """Raised by a request to stop where nothing has to be finished first.

    It is not an `Exception`, so that no handler mistakes it for a failure.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Requests:
    """Requests that the training loop has not handled yet.

    Attributes:
        stop: the reason to stop after the current step and save; the first reason is kept.
        save: write a checkpoint after the current step and continue.
        deadline: `time.monotonic()` at which to stop, or None.
    """

    stop: StopReason | None = None
    save: bool = False
    deadline: float | None = None
    _at_once: bool = False

    def ask_stop(self, reason: StopReason) -> None:
        """Request a stop; called from a signal handler on the main thread.

        Raises:
            StopNow: within `at_once`.
        """
        if self.stop is None:
            self.stop = reason
        if self._at_once:
            raise StopNow(self.stop)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Context in which a request to stop raises `StopNow`; the time limit does not.

        For waits, such as on a disk that may never answer, and for work that a resumed run repeats.
        """
        self._at_once = True
        try:
            if self.stop is not None:
                raise StopNow(self.stop)
            yield
        finally:
            self._at_once = False

    def awaited(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the same items; a request to stop interrupts the wait for the next one.

        Raises:
            StopNow: a stop was requested while waiting.
        """
        while True:
            with self.at_once():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def stop_reason(self) -> StopReason | None:
        """The reason to stop now, or None."""
        if self.stop is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop = "time limit"
        return self.stop

    def take_save(self) -> bool:
        """Return whether a checkpoint was requested since the last call."""
        asked, self.save = self.save, False
        return asked
