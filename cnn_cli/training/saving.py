"""What a training writes into its run folder, and when it can be gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cnn_cli import __version__
from cnn_cli.config import Config, config_text, plain_config
from cnn_cli.data.normalization import Normalization
from cnn_cli.runs.checkpoint import Checkpoint, save_checkpoint
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.state import TrainingState
from cnn_cli.system import versions
from cnn_cli.training.divergence import carry_scheduled
from cnn_cli.training.setup import TrainingData


class Saver:
    """Writes a run's files.

    Args:
        run: the folder; None where another rank writes it.
        config: of the training.
        data: what it trains on.
        normalization: of its images.
        facts: more of a checkpoint's meta: what stays the same for a whole session.
        bad_before: images that earlier sessions could not read, and why.
    """

    def __init__(
        self,
        run: RunFolder | None,
        config: Config,
        data: TrainingData,
        normalization: Normalization,
        facts: Mapping[str, Any],
        bad_before: Mapping[str, str],
    ) -> None:
        self._run = run
        self._config = config
        self._data = data
        self._bad_before = dict(bad_before)
        self._facts = {
            "program_version": __version__,
            "versions": versions(),
            "config": plain_config(config),
            "classes": list(data.dataset.classes),
            "preprocess": asdict(data.preprocess),
            "mean": list(normalization.mean),
            "std": list(normalization.std),
            "seed": config.train.seed,
            **facts,
        }

    @property
    def bad_files(self) -> dict[str, str]:
        """Path and problem of the images that could not be read, in all sessions."""
        return self._bad_before | self._data.bad_files

    def config(self) -> None:
        if self._run is not None:
            self._run.write_config(config_text(self._config))

    def best(self, state: TrainingState, step: int, groups: dict[str, Any]) -> None:
        """Write `best.npz`."""
        if self._run is not None:
            save_checkpoint(self._run.best, self._checkpoint(state, step, groups))

    def last(
        self, state: TrainingState, step: int, groups: dict[str, Any], *, scheduled: bool
    ) -> None:
        """Write `last.npz`.

        Args:
            state: of the training.
            step: steps that are done.
            groups: the arrays.
            scheduled: a stop or a signal has no part in its being written now.
        """
        if self._run is None:
            return
        checkpoint = self._checkpoint(state, step, groups)
        if not scheduled and self._config.train.on_nan == "rollback":
            carry_scheduled(self._run.last, checkpoint)
        save_checkpoint(self._run.last, checkpoint)

    def reports(self, state: TrainingState) -> None:
        """Write what is for people."""
        if self._run is None:
            return
        self._run.write_reports(state.rows, state.log)
        self._run.write_bad_files(self.bad_files)

    def _checkpoint(self, state: TrainingState, step: int, groups: dict[str, Any]) -> Checkpoint:
        meta = {
            **self._facts,
            "epoch": state.epoch,
            "step": step,
            "bad_files": self.bad_files,
            "state": state.as_meta(),
        }
        return Checkpoint(meta, groups)
