"""When a training writes which files of its run folder, and what it reports."""

from __future__ import annotations

from typing import Any

from cnn_cli import __version__
from cnn_cli.config import config_text, plain_config
from cnn_cli.data.listing import frames_text
from cnn_cli.errors import DivergedError
from cnn_cli.inference.classifier import SeveralLabels
from cnn_cli.runs.checkpoint import PRECISE_BN, Checkpoint, save_checkpoint
from cnn_cli.runs.folder import RECEIPT
from cnn_cli.runs.meta import SEVERAL, split_rule
from cnn_cli.runs.receipt import META, receipt_meta
from cnn_cli.runs.results import EpochRow
from cnn_cli.runs.stored_network import network_facts
from cnn_cli.structs import as_dict
from cnn_cli.system import versions
from cnn_cli.training.divergence import (
    MOST_ROLLBACKS,
    carry_scheduled,
    go_back,
    rollback_note,
)
from cnn_cli.training.learner import model_of
from cnn_cli.training.session import Hook, Session


class Saver(Hook):
    """Writes checkpoints and logs. Rank 0 writes; all ranks check the values that are written.

    Args:
        session: the training.
    """

    def __init__(self, session: Session) -> None:
        setup = session.setup
        self._run = session.run if setup.ranks.rank == 0 else None
        self._data = session.data
        self._several: set[str] | None = None
        # If the images were moved, unreadable ones will be met again under their new names.
        self._bad_before = {} if setup.moved else dict(setup.meta.get("bad_files", {}))
        self._facts = {
            "program_version": __version__,
            "versions": versions(),
            "config": plain_config(setup.config),
            "classes": list(setup.dataset.classes),
            "preprocess": as_dict(session.data.preprocess),
            "mean": list(session.normalization.mean),
            "std": list(session.normalization.std),
            "seed": setup.config.train.seed,
            "threads": setup.threads,
            "ranks": setup.ranks.size,
            "backend": session.kernels.name,
            "data": dict(setup.data_facts),
            "split_rule": split_rule(setup.meta),
            **_receipt_facts(session),
            **network_facts(setup.graph, setup.config.train.dtype),
        }

    @property
    def bad_files(self) -> dict[str, str]:
        """Path and problem of each unreadable image of all sessions."""
        return self._bad_before | self._data.bad_files

    def start(self, session: Session) -> None:
        """Write the files of a run before its first epoch, and start the progress display."""
        state, config = session.state, session.setup.config
        if self._run is not None:
            self._run.write_config(config_text(config))
            if session.receipt is not None:
                self._run.write(RECEIPT, session.receipt.csv())
        state.note_session(session.data_change)
        if config.train.epochs == 0 or (
            config.train.on_nan == "rollback"
            and session.setup.ranks.first(lambda: not session.run.last.exists())
        ):
            self._save_last(session)
            self._reports(session)
        steps = session.setup.steps_per_epoch
        sizes = map(config.image_size, range(config.train.epochs))
        pixels = [height * width for height, width in sizes] if session.setup.smaller else []
        session.progress.start(config.train.epochs, state.epoch + 1, steps, pixels)

    def after_step(self, session: Session, images: int) -> None:
        state = session.state
        session.progress.step(
            state.epoch + 1, state.batch, images, state.sums.mean_loss, state.sums.top1
        )
        every = session.setup.config.train.checkpoint_every
        scheduled = every is not None and session.steps_done % every == 0
        if session.requests.take_save() or scheduled:
            self._save_last(session, mid_epoch=True, scheduled=scheduled)

    def after_epoch(self, session: Session) -> None:
        # The best one first: if a crash follows, the epoch is repeated with the same result.
        if session.best:
            self._save_best(session)
        self._save_last(session)
        self._reports(session)
        best = session.best and not session.setup.config.train.keeps_last
        session.progress.epoch(EpochRow.of(session.state.rows[-1]), best)
        if self._several is None:  # after the first epoch, in which every file was read
            self._several = self._data.several
            if self._several:
                session.progress.note(frames_text(self._several))

    def stop(self, session: Session, reason: str) -> None:
        """Save when training stops, for the given reason."""
        session.state.note_event("stop", reason=reason)
        within = session.state.batch > 0
        self._save_last(session, mid_epoch=within, scheduled=not within)
        self._reports(session)

    def roll_back(self, session: Session, error: DivergedError) -> None:
        """Resume from the last scheduled checkpoint with half the learning rate.

        Raises:
            DivergedError: `error`, if the config does not allow it or a rollback has already
                failed.
        """
        may_go_back = session.setup.config.train.on_nan == "rollback"
        if not may_go_back or session.state.rollbacks >= MOST_ROLLBACKS:
            raise error
        session.restore(session.setup.ranks.first(lambda: go_back(session.run.last, session.state)))
        self._reports(session)
        session.progress.note(rollback_note(error, session.state))

    def _save_best(self, session: Session) -> None:
        if self._run is not None:
            groups = {"model": model_of(session.evaluated)} | session.confusion
            save_checkpoint(self._run.best, self._checkpoint(session, groups), own=True)

    def _save_last(
        self, session: Session, *, mid_epoch: bool = False, scheduled: bool = True
    ) -> None:
        """Write `last.npz`.

        Args:
            mid_epoch: it contains steps of the current epoch.
            scheduled: it is not written because of a stop or a signal.
        """
        session.learner.check(session.state)
        if self._run is None:
            return
        groups = session.learner.groups()
        if session.estimated and not mid_epoch:
            groups[PRECISE_BN] = session.estimated
        checkpoint = self._checkpoint(session, groups)
        if not scheduled and session.setup.config.train.on_nan == "rollback":
            carry_scheduled(self._run.last, checkpoint)
        save_checkpoint(self._run.last, checkpoint, own=True)

    def _reports(self, session: Session) -> None:
        """Write the reports for users."""
        if self._run is None:
            return
        self._run.write_reports(session.state.rows, session.state.log)
        self._run.write_bad_files(self.bad_files)

    def _checkpoint(self, session: Session, groups: dict[str, Any]) -> Checkpoint:
        meta = {
            **self._facts,
            "epoch": session.state.epoch,
            "step": session.steps_done,
            "bad_files": self.bad_files,
            "state": session.state.as_meta(),
        }
        if session.setup.multiple:
            separator = session.setup.config.data.label_sep
            meta[SEVERAL] = SeveralLabels(separator, session.thresholds).as_meta()
        return Checkpoint(meta, groups)


def _receipt_facts(session: Session) -> dict[str, Any]:
    if session.receipt is None:
        return {}
    return {META: receipt_meta(session.receipt, plain_config(session.setup.config))}
