"""What the command line says of a training besides the config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_cli.metric_names import Metric

if TYPE_CHECKING:
    from cnn_cli.config import Config


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What the command line says besides the config.

    Attributes:
        out: the run folder; by default one under `runs/`.
        overwrite: delete the run that is there.
        resume: go on from its `last.npz`, if it is there.
        threads: workers; by default those of the resumed checkpoint, or the cores there are.
        backend: `numpy` or `fast`; by default that of the resumed checkpoint, or the best here.
        gates: metrics of the validation images that are asked for.
        memory: bytes that the training may take, with cached images; by default what there is.
        until: epochs after which to stop, with the schedule of `train.epochs`; by default all.
    """

    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    threads: int | None = None
    backend: str | None = None
    gates: tuple[Metric, ...] = ()
    memory: int | None = None
    until: int | None = None

    def epochs(self, config: Config) -> int:
        """Epochs after which the training of a config stops."""
        whole = config.train.epochs
        return whole if self.until is None else min(self.until, whole)
