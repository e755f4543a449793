"""What the training loop tells whoever watches it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One row of `metrics.csv`; losses are means over images, rates in images per second.

    Attributes:
        epoch: counted from 1.
        lr: at the epoch's last step.
        val_loss, val_top1: None without validation images.
    """

    epoch: int
    train_loss: float
    train_top1: float
    val_loss: float | None
    val_top1: float | None
    lr: float
    seconds: float
    images_per_second: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended.

    Attributes:
        run: the run folder.
        epochs: epochs that are done.
        best_epoch: whose weights `best.npz` holds; None where there is none.
        best_top1: that epoch's val_top1; None without validation images.
        last: the last epoch's row; None where no epoch was done.
        seconds: of training, over all sessions of the run.
        stopped: None where the training is complete, else why it ended early: a `StopReason`,
            which `--resume` goes on from, or `early stop`, which is final.
        bad_files: images that could not be read.
    """

    run: Path
    epochs: int
    best_epoch: int | None
    best_top1: float | None
    last: EpochRow | None
    seconds: float
    stopped: str | None
    bad_files: int


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
