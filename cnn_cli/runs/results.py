"""What is told of a training: a row for each epoch, and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


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
