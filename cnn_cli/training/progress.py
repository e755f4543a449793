"""What the training loop tells whoever watches it."""

from __future__ import annotations

from typing import Protocol

from cnn_cli.runs.results import EpochRow


class Progress(Protocol):
    """Called from the training loop, on its thread."""

    def note(self, message: str) -> None:
        """Something the user should know: a cache on disk, bad files, a skipped batch."""

    def start(self, epochs: int, first_epoch: int, steps_per_epoch: int) -> None:
        """The first step is near; `first_epoch` is counted from 1."""

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        """A step is done; `step` is counted from 1 within the epoch, loss and top1 are the
        epoch's means so far."""

    def epoch(self, row: EpochRow, best: bool) -> None:
        """An epoch is done."""

    def close(self) -> None:
        """Training has ended, by whatever way."""


class Silent:
    """Nobody watches."""

    def note(self, message: str) -> None: ...

    def start(self, epochs: int, first_epoch: int, steps_per_epoch: int) -> None: ...

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None: ...

    def epoch(self, row: EpochRow, best: bool) -> None: ...

    def close(self) -> None: ...
