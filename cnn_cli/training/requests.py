"""What the outside asks of a running training: stop, or save now.

Signal handlers and the clock set it; the training loop looks after each step. Where it waits, or
does what can be done again, a stop does not wait for it: see `Requests.at_once`.
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
    """A stop was asked for where nothing has to be finished first.

    No `Exception`, so that nobody on the way takes it for a failure of what was under way.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Requests:
    """Wishes that the training loop has not met yet.

    Attributes:
        stop: why to stop after the current step, having saved; the first reason stays.
        save: write a checkpoint after the current step and go on.
        deadline: `time.monotonic()` at which to stop, or None.
    """

    stop: StopReason | None = None
    save: bool = False
    deadline: float | None = None
    _at_once: bool = False

    def ask_stop(self, reason: StopReason) -> None:
        """Called from a signal handler, on the main thread.

        Raises:
            StopNow: within `at_once`.
        """
        if self.stop is None:
            self.stop = reason
        if self._at_once:
            raise StopNow(self.stop)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it, being asked to stop raises `StopNow`; the time limit does not.

        For waiting, on a disk that may never answer, and for what a resumed run does again.
        """
        self._at_once = True
        try:
            if self.stop is not None:
                raise StopNow(self.stop)
            yield
        finally:
            self._at_once = False

    def awaited(self, items: Iterator[T]) -> Iterator[T]:
        """The same items; a stop does not wait for the next one.

        Raises:
            StopNow: asked to stop while waiting.
        """
        while True:
            with self.at_once():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def stop_reason(self) -> StopReason | None:
        """Why to stop now, if at all."""
        if self.stop is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop = "time limit"
        return self.stop

    def take_save(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        asked, self.save = self.save, False
        return asked
