"""The state of a training, and how a checkpoint stores it.

The checkpoint's metadata is the source of all other files of a run folder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from cnn_cli.errors import DataError
from cnn_cli.metric_names import Metric
from cnn_cli.runs.results import EpochRow, TrainResult

if TYPE_CHECKING:
    from cnn_cli.config import TrainConfig

DATA_CHANGE = "data_change"  # key in a line of the log

# A checkpoint may contain anything; training can resume from these numbers.
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Epoch = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


@dataclass(slots=True)
class EpochSums:
    """Sums over the batches of the current epoch."""

    loss: Finite = 0.0
    correct: Count = 0
    images: Count = 0
    seconds: Seconds = 0.0

    @property
    def mean_loss(self) -> float:
        return self.loss / max(self.images, 1)

    @property
    def top1(self) -> float:
        return self.correct / max(self.images, 1)


@dataclass(slots=True)
class TrainingState:
    """The state of a training.

    Attributes:
        epoch: number of epochs done.
        batch: number of batches done in the current epoch.
        sums: sums over those batches.
        best_epoch: the epoch in `best.npz`, counted from 1: the one with the best `train.monitor`,
            see `is_better`; without validation, or with `train.keep: last`, the last epoch.
        early_stopped: no better epoch came for `train.early_stop` epochs: the run is finished.
        seconds: training time, in all sessions.
        lr_factor: factor of the schedule's learning rate; each rollback halves it.
        rows: rows of `metrics.csv`.
        log: lines of `log.jsonl`.
    """

    epoch: Count = 0
    batch: Count = 0
    sums: EpochSums = field(default_factory=EpochSums)
    best_epoch: Epoch | None = None
    early_stopped: bool = False
    seconds: Seconds = 0.0
    lr_factor: Factor = 1.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    def finished(self, epochs: int) -> bool:
        """Whether nothing is left to do for a training of `epochs`."""
        return self.early_stopped or self.epoch >= epochs

    @property
    def best(self) -> EpochRow | None:
        """The row of the best epoch."""
        rows = [row for row in self.rows if row["epoch"] == self.best_epoch]
        return EpochRow.of(rows[0]) if rows else None

    @property
    def last(self) -> EpochRow | None:
        """The row of the last epoch."""
        return EpochRow.of(self.rows[-1]) if self.rows else None

    def end_epoch(
        self, row: EpochRow, monitor: Metric, patience: int | None, *, keeps_last: bool = False
    ) -> bool:
        """Add the row of a finished epoch; return whether to save its weights as the best.

        Args:
            row: row of the epoch.
            monitor: `train.monitor`.
            patience: `train.early_stop`, the number of epochs without a better value.
            keeps_last: whether `train.keep` is `last`.
        """
        value, best = row.value(monitor), self.best
        is_best = keeps_last or best is None or is_better(row, best, monitor)
        if is_best:
            self.best_epoch = row.epoch
        self.epoch += 1
        self.batch = 0
        self.sums = EpochSums()
        self.rows.append(row.as_dict())
        if patience is not None and self.best is not None and value is not None:
            reached = self.best.value(monitor)
            first = next(row["epoch"] for row in self.rows if row.get(monitor.column) == reached)
            self.early_stopped = self.epoch - first >= patience
        return is_best

    def note_event(self, event: str, **values: Any) -> None:
        """Add a line to the log."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.log.append({"time": stamp, "event": event, **values})

    def note_session(self, data_change: str | None) -> None:
        """Add a line about the start of a session to the log.

        Args:
            data_change: how the images differ from those of the session before, if they do.
        """
        if data_change is None:
            self.note_event("resume" if self.log else "start")
        else:
            place = {"epoch": self.epoch + 1, "step": self.batch}
            self.note_event("resume", **place, **{DATA_CHANGE: data_change})

    @property
    def data_changes(self) -> list[str]:
        """The changes of images between sessions, in words."""
        found = []
        for event in self.log:
            if DATA_CHANGE in event:
                step = event.get("step")
                place = f"epoch {event.get('epoch')}" + (f" after step {step}" if step else "")
                found.append(f"from {place} on: {event[DATA_CHANGE]}")
        return found

    @property
    def rollbacks(self) -> int:
        """Number of rollbacks because of values that were not finite."""
        return round(-math.log2(self.lr_factor))

    def result(
        self, run: Path, train: TrainConfig, bad_files: Mapping[str, str], stopped: str | None
    ) -> TrainResult:
        """Return the result of a session that ends here.

        Args:
            run, bad_files, stopped: as in `TrainResult`.
            train: the config's `train`.
        """
        return TrainResult(
            run=run,
            epochs=self.epoch,
            monitor=train.monitored,
            best=self.best,
            last=self.last,
            seconds=self.seconds,
            stopped="early stop" if stopped is None and self.early_stopped else stopped,
            bad_files=bad_files,
            keeps_last=train.keeps_last,
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
            state = TypeAdapter(cls).validate_python(meta.get("state"))
            nested = [EpochRow.nested(row) for row in state.rows]
            rows = TypeAdapter(list[EpochRow]).validate_python(nested)
        except ValidationError as error:
            raise DataError(
                place, "must be a checkpoint that training can continue from"
            ) from error
        state.rows = [row.as_dict() for row in rows]
        return state


def is_better(row: EpochRow, best: EpochRow, monitor: Metric) -> bool:
    """Whether an epoch is better than the best one before; ties go to the lower loss.

    With few validation images, many epochs classify all correctly, the first of them with little
    margin.
    """
    value, before = row.value(monitor), best.value(monitor)
    if value is None or before is None:
        # An epoch whose validation images could not be read is not better than a measured one.
        return before is None
    if value != before or row.val_loss is None or best.val_loss is None:
        return monitor.is_better(value, before)
    return row.val_loss < best.val_loss
