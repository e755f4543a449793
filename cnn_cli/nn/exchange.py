"""Interface between an engine and the processes that share its batches."""

from __future__ import annotations

from typing import Protocol

from cnn_cli.nn.types import Array


class Exchange(Protocol):
    """Communication with the other processes, which all make the same calls in the same order.

    Called on the thread that called the engine.

    Attributes:
        size: number of processes.
    """

    size: int

    def gather(self, numbers: Array) -> Array:
        """Return (size, *shape): every process's array, in order; all have one shape and dtype."""

    def start_sum(self, numbers: Array) -> None:
        """Start replacing a contiguous array, in place, by its sum over all processes.

        The array must not be used until `finish_sums`.
        """

    def keep_going(self) -> None:
        """Progress the started sums; returns at once."""

    def finish_sums(self) -> None:
        """Wait until all started sums are complete."""
