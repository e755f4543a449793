"""What is told of a training: a row for each epoch, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any

from cnn_cli.metric_names import VALIDATION, Metric


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One row of `metrics.csv`; losses are means over images, rates in images per second.

    Attributes:
        epoch: counted from 1.
        lr: at the epoch's last step.
        val_loss, val_top1: None without validation images.
        val: other metrics of the validation images, by the text of `Metric`; None where one is not
            defined.
    """

    epoch: int
    train_loss: float
    train_top1: float
    val_loss: float | None
    val_top1: float | None
    lr: float
    seconds: float
    images_per_second: float
    val: Mapping[str, float | None] = field(default_factory=dict)

    def value(self, metric: Metric) -> float | None:
        """Of a metric of the validation images; None where it was not measured or is not finite."""
        found = self.as_dict().get(metric.column)
        return found if found is not None and isfinite(found) else None

    def as_dict(self) -> dict[str, Any]:
        """All on one level: `val` with the keys of `Metric.column`."""
        row = asdict(self)
        return row | {VALIDATION + name: value for name, value in row.pop("val").items()}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> EpochRow:
        """The row of such a dictionary."""
        return cls(**cls.nested(row))

    @classmethod
    def nested(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of such a dictionary; what does not belong there is left out."""
        known = {each.name for each in fields(cls)} - {"val"}
        others = {
            key.removeprefix(VALIDATION): value
            for key, value in row.items()
            if key not in known and key.startswith(VALIDATION)
        }
        return {key: row[key] for key in known if key in row} | {"val": others}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended.

    Attributes:
        run: the run folder.
        epochs: epochs that are done.
        monitor: the metric that says which epoch is the best.
        best: the row of the epoch whose weights `best.npz` holds; None where there is none.
        last: the last epoch's row; None where no epoch was done.
        seconds: of training, over all sessions of the run.
        stopped: None where the training is complete, or as far as it was to come; else why it
            ended early: a `StopReason`, which `--resume` goes on from, or `early stop`, which is
            final.
        bad_files: images that could not be read.
    """

    run: Path
    epochs: int
    monitor: Metric
    best: EpochRow | None
    last: EpochRow | None
    seconds: float
    stopped: str | None
    bad_files: int

    @property
    def best_epoch(self) -> int | None:
        return None if self.best is None else self.best.epoch
