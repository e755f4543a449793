"""Requests to stop or save that all ranks handle at the same step, whichever rank received them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import numpy as np

from cnn_cli.parallel.ranks import Ranks
from cnn_cli.training.requests import Requests, StopNow, StopReason

T = TypeVar("T")

REASONS: tuple[StopReason, ...] = ("time limit", "terminated", "interrupted")


class Agreement(Requests):
    """Requests of any rank, seen by all ranks at the same point.

    The ranks exchange them before each step, and after any phase that a stop may interrupt: the
    interrupted rank ends the phase early and meets the others there.

    Args:
        own: the requests of this rank, set by signals.
        ranks: all ranks.
    """

    __slots__ = ("_own", "_ranks")

    def __init__(self, own: Requests, ranks: Ranks) -> None:
        super().__init__()
        self._own = own
        self._ranks = ranks

    @contextmanager
    def at_once(self) -> Iterator[None]:
        with suppress(StopNow), self._own.at_once():
            yield
        self._look()
        if self.stop is not None:
            raise StopNow(self.stop)

    def awaited(self, items: Iterator[T]) -> Iterator[T]:
        while True:
            found = []
            with self.at_once():
                found = [item for item in [next(items, None)] if item is not None]
            if not found:
                return
            yield found[0]

    def stop_reason(self) -> StopReason | None:
        """The reason to stop, as of the last exchange."""
        return self.stop

    def _look(self) -> None:
        reason = self._own.stop_reason()
        own = [0 if reason is None else 1 + REASONS.index(reason), self._own.take_save()]
        asked = np.max(self._ranks.gather(np.array(own)), axis=0)
        if self.stop is None and asked[0]:
            self.stop = REASONS[asked[0] - 1]
        self.save |= bool(asked[1])
