"""What an engine needs of the processes that share its batches."""

from __future__ import annotations

from typing import Protocol

from cnn_cli.nn.types import Array


class Exchange(Protocol):
    """Talks with the other processes; all of them make the same calls in the same order.

    Called on the thread that called the engine.

    Attributes:
        size: how many processes there are.
    """

    size: int

    def gather(self, numbers: Array) -> Array:
        """(size, *shape): every process's array, in their order; all are of one shape and type."""

    def start_sum(self, numbers: Array) -> None:
        """Begin to replace a contiguous array, in place, by the sum over all processes.

        Nobody touches it until `finish_sums`.
        """

    def keep_going(self) -> None:
        """Let the sums that are under way move on; returns at once."""

    def finish_sums(self) -> None:
        """Wait until all sums that were begun are there."""
