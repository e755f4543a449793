"""Where a training stands, and its way into a checkpoint and back.

The checkpoint's `meta` is the source of everything a run folder says; the other files are written
from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cnn_cli.errors import DataError
from cnn_cli.training.progress import EpochRow, TrainResult


@dataclass(slots=True)
class EpochSums:
    """Sums over the batches of an epoch so far."""

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        return self.loss / max(self.images, 1)

    @property
    def top1(self) -> float:
        return self.correct / max(self.images, 1)


@dataclass(slots=True)
class TrainingState:
    """Progress of a run.

    Attributes:
        epoch: epochs that are done.
        batch: batches of the epoch under way that are done.
        sums: over those batches.
        best_epoch, best_top1: the earliest epoch of the highest val_top1; without validation the
            last epoch. Counted from 1.
        early_stopped: no better epoch came for `train.early_stop` epochs: the run is finished.
        seconds: of training, in all sessions.
        rows: of `metrics.csv`.
        log: of `log.jsonl`.
    """

    epoch: int = 0
    batch: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    best_epoch: int | None = None
    best_top1: float | None = None
    early_stopped: bool = False
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    def finished(self, epochs: int) -> bool:
        """Whether nothing is left to do for a training of `epochs`."""
        return self.early_stopped or self.epoch >= epochs

    def result(self, run: Path, bad_files: int, stopped: str | None) -> TrainResult:
        """What a session that ends here gives; `stopped` as in `TrainResult`."""
        return TrainResult(
            run=run,
            epochs=self.epoch,
            best_epoch=self.best_epoch,
            best_top1=self.best_top1,
            last=EpochRow(**self.rows[-1]) if self.rows else None,
            seconds=self.seconds,
            stopped="early stop" if stopped is None and self.early_stopped else stopped,
            bad_files=bad_files,
        )

    def as_meta(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: dict[str, Any], place: str) -> TrainingState:
        """Read a checkpoint's state.

        Raises:
            DataError: it is not a training's checkpoint, or it is damaged.
        """
        try:
            return TypeAdapter(cls).validate_python(meta.get("state"))
        except ValidationError as error:
            raise DataError(place, "must be a checkpoint that training can go on from") from error
