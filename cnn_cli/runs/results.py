"""The results of a training: one row per epoch, and how it ended."""

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
        lr: learning rate of the epoch's last step.
        val_loss, val_top1: None without validation images.
        val: other metrics of the validation images, by the text of `Metric`; None if undefined.
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
        """Return a metric of the validation images; None if it was not measured or is not
        finite.
        """
        found = self.as_dict().get(metric.column)
        return found if found is not None and isfinite(found) else None

    def as_dict(self) -> dict[str, Any]:
        """Return a flat dictionary: `val` with the keys of `Metric.column`."""
        row = asdict(self)
        return row | {VALIDATION + name: value for name, value in row.pop("val").items()}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> EpochRow:
        """Convert such a dictionary to a row."""
        return cls(**cls.nested(row))

    @classmethod
    def nested(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of such a dictionary, without unknown keys."""
        known = {each.name for each in fields(cls)} - {"val"}
        others = {
            key.removeprefix(VALIDATION): value
            for key, value in row.items()
            if key not in known and key.startswith(VALIDATION)
        }
        return {key: row[key] for key in known if key in row} | {"val": others}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The result of a training.

    Attributes:
        run: the run folder.
        epochs: epochs done.
        monitor: the metric that determines the best epoch.
        best: the row of the epoch in `best.npz`, or None.
        last: the last epoch's row; None if no epoch was done.
        seconds: training time over all sessions of the run.
        stopped: None if the training is complete, or reached its requested epoch; else why it ended
            early: a `StopReason`, after which `--resume` continues, or `early stop`, which is
            final.
        bad_files: path and problem of each unreadable image.
        keeps_last: whether `best` is the last epoch, whatever its metrics, see `train.keep`.
    """

    run: Path
    epochs: int
    monitor: Metric
    best: EpochRow | None
    last: EpochRow | None
    seconds: float
    stopped: str | None
    bad_files: Mapping[str, str]
    keeps_last: bool = False

    @property
    def best_epoch(self) -> int | None:
        return None if self.best is None else self.best.epoch
