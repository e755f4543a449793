"""What the training loop reports to a progress display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cnn_cli.runs.results import EpochRow


class Progress(Protocol):
    """Callbacks of the training loop, called on its thread."""

    def note(self, message: str) -> None:
        """Report something to the user: a cache on disk, bad files, a skipped batch."""

    def start(
        self, epochs: int, first_epoch: int, steps_per_epoch: int, pixels: Sequence[int] = ()
    ) -> None:
        """Report that the first step is next.

        Args:
            epochs: number of all epochs.
            first_epoch: counted from 1.
            steps_per_epoch: number of steps.
            pixels: of an image in each epoch; none if they do not change.
        """

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        """Report a finished step, counted from 1 in the epoch; loss and top1 are means of the epoch
        so far.
        """

    def epoch(self, row: EpochRow, best: bool) -> None:
        """Report a finished epoch."""

    def close(self) -> None:
        """Report the end of training, whatever its reason."""


class Silent:
    """Reports nothing."""

    def note(self, message: str) -> None: ...

    def start(
        self, epochs: int, first_epoch: int, steps_per_epoch: int, pixels: Sequence[int] = ()
    ) -> None: ...

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None: ...

    def epoch(self, row: EpochRow, best: bool) -> None: ...

    def close(self) -> None: ...
