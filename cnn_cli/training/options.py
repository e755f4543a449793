"""Options of the command line for a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_cli.errors import UsageError
from cnn_cli.metric_names import Metric

if TYPE_CHECKING:
    from cnn_cli.config import Config


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of the command line for a training, besides the config.

    Attributes:
        out: the run folder; by default a new one in `runs/`.
        overwrite: delete an existing run.
        resume: resume from `last.npz` if it exists.
        threads: worker threads; by default those of the resumed checkpoint, or the available cores.
        backend: `numpy` or `fast`; by default that of the resumed checkpoint, or the fastest
            installed.
        gates: further metrics to measure on the validation images.
        memory: bytes that the training may take, with cached images; by default the available
            memory.
        until: epochs after which to stop, with the schedule of `train.epochs`; by default all.

    Raises:
        UsageError: both `overwrite` and `resume`.
    """

    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    threads: int | None = None
    backend: str | None = None
    gates: tuple[Metric, ...] = ()
    memory: int | None = None
    until: int | None = None

    def __post_init__(self) -> None:
        if self.overwrite and self.resume:
            rule = "deletes the run that --resume continues; give one of them"
            raise UsageError("--overwrite", rule)

    def epochs(self, config: Config) -> int:
        """Return the number of epochs after which training stops."""
        whole = config.train.epochs
        return whole if self.until is None else min(self.until, whole)
