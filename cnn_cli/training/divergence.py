"""Losses and weights that are not finite: the error, and the rollback to a checkpoint."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from cnn_cli.errors import DataError, DivergedError
from cnn_cli.nn.params import Parameters
from cnn_cli.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnn_cli.runs.state import TrainingState

MOST_ROLLBACKS = 3
CARRIED = "rollback"  # group, and key of the metadata
PLACE = ("epoch", "step", "state")  # keys of the metadata that change during training


def check_finite(params: Parameters, state: TrainingState) -> None:
    """Check that weights and statistics are finite, so that no unusable checkpoint is saved.

    Raises:
        DivergedError: they are not, after the steps so far.
    """
    for what, numbers in ("weights", params.flat), ("batch statistics", params.flat_buffers):
        if not np.isfinite(numbers).all():
            raise DivergedError(
                place_of(state, state.batch), f"the {what} must be finite; {advice_of(state)}"
            )


def place_of(state: TrainingState, step: int) -> str:
    """Return the current epoch and step as text, counted from 1."""
    return f"epoch {state.epoch + 1}, step {step}"


def advice_of(state: TrainingState) -> str:
    """Return what the user can do about it."""
    advice = "try a smaller train.optimizer.lr"
    if state.rollbacks < MOST_ROLLBACKS:
        return advice
    return f"{state.rollbacks} rollbacks did not help; {advice}"


def carry_scheduled(last: Path, checkpoint: Checkpoint) -> None:
    """Make a checkpoint that a stop or a signal requested carry the last scheduled one.

    A rollback returns to the last scheduled checkpoint: of the run's start, of an epoch's end or of
    `train.checkpoint_every`. The moment of a stop must not change the final weights, so an
    unscheduled checkpoint keeps a copy of the scheduled one that it replaces.

    Args:
        last: the file that `checkpoint` is about to replace.
        checkpoint: the new checkpoint, which is added to.
    """
    # An unreadable checkpoint cannot be rolled back to; nothing else is lost.
    with suppress(DataError):
        scheduled = _scheduled(last)
        checkpoint.meta[CARRIED] = {key: scheduled.meta.get(key) for key in PLACE}
        checkpoint.groups[CARRIED] = {
            f"{group}/{name}": array
            for group, arrays in scheduled.groups.items()
            for name, array in arrays.items()
        }


def go_back(last: Path, failed: TrainingState) -> Checkpoint:
    """Roll back to the last scheduled checkpoint with half the learning rate.

    Args:
        last: the run's checkpoint; it is read and rewritten.
        failed: the state of the run; its elapsed time and log are kept.

    Returns:
        The rewritten checkpoint.

    Raises:
        DataError: the checkpoint cannot be read or written.
    """
    checkpoint = _scheduled(last)
    state = TrainingState.from_meta(checkpoint.meta, str(last))
    state.seconds, state.log = failed.seconds, failed.log
    state.lr_factor = failed.lr_factor / 2
    state.note_event("rollback", epoch=state.epoch + 1, step=state.batch, lr_factor=state.lr_factor)
    checkpoint.meta["state"] = state.as_meta()
    save_checkpoint(last, checkpoint, own=True)
    return checkpoint


def _scheduled(last: Path) -> Checkpoint:
    """Return the last scheduled checkpoint of a run: its `last`, or the one carried in it."""
    checkpoint = load_checkpoint(last)
    meta, arrays = checkpoint.meta.pop(CARRIED, None), checkpoint.groups.pop(CARRIED, None)
    if meta is None or arrays is None:
        return checkpoint
    checkpoint.meta |= {key: meta.get(key) for key in PLACE}
    checkpoint.groups = {}
    for path, array in arrays.items():
        group, _, name = path.partition("/")
        checkpoint.groups.setdefault(group, {})[name] = array
    return checkpoint


def rollback_note(error: DivergedError, state: TrainingState) -> str:
    """Return the note for the user about a rollback that ended in `state`."""
    return (
        f"{error.line()} Back to {place_of(state, state.batch)}, with half the learning rate "
        f"(rollback {state.rollbacks} of {MOST_ROLLBACKS})"
    )
