"""Numbers that are not finite: the error they are, and the way back to a checkpoint."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from cnn_cli.errors import DataError, DivergedError
from cnn_cli.nn.params import Parameters
from cnn_cli.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnn_cli.runs.state import TrainingState

MOST_ROLLBACKS = 3
CARRIED = "rollback"  # group, and key of meta
PLACE = ("epoch", "step", "state")  # what of meta changes as training goes on


def check_finite(params: Parameters, state: TrainingState) -> None:
    """Nothing is saved that could not be used.

    Raises:
        DivergedError: weights or statistics are not finite, after the steps done so far.
    """
    for what, numbers in ("weights", params.flat), ("batch statistics", params.flat_buffers):
        if not np.isfinite(numbers).all():
            raise DivergedError(
                place_of(state, state.batch), f"the {what} must be finite; {advice_of(state)}"
            )


def place_of(state: TrainingState, step: int) -> str:
    """The epoch under way and a step of it, counted from 1."""
    return f"epoch {state.epoch + 1}, step {step}"


def advice_of(state: TrainingState) -> str:
    """What the user may do."""
    advice = "try a smaller train.optimizer.lr"
    if state.rollbacks < MOST_ROLLBACKS:
        return advice
    return f"{state.rollbacks} rollbacks did not help; {advice}"


def carry_scheduled(last: Path, checkpoint: Checkpoint) -> None:
    """Have a checkpoint that a stop or a signal asked for keep the way back.

    A run goes back to its last scheduled checkpoint: of its start, of an epoch's end or of
    `train.checkpoint_every`. Where it happened to be stopped must not change its weights, so that
    a checkpoint of another moment carries the scheduled one along when it takes its place.

    Args:
        last: the file that `checkpoint` is about to replace.
        checkpoint: which is added to.
    """
    with suppress(DataError):  # what cannot be read cannot be gone back to; nothing else is lost
        scheduled = _scheduled(last)
        checkpoint.meta[CARRIED] = {key: scheduled.meta.get(key) for key in PLACE}
        checkpoint.groups[CARRIED] = {
            f"{group}/{name}": array
            for group, arrays in scheduled.groups.items()
            for name, array in arrays.items()
        }


def go_back(last: Path, failed: TrainingState) -> Checkpoint:
    """Halve the learning rate of the scheduled checkpoint that a run is to go on from.

    Args:
        last: the run's checkpoint, which is read, and written as it is to go on.
        failed: the run's state; its time and its log are kept.

    Returns:
        The checkpoint as it is now.

    Raises:
        DataError: it cannot be read or written.
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
    """A run's last scheduled checkpoint: its `last` one, or the one that carries along."""
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
    """What to tell of a way back, whose end `state` is."""
    return (
        f"{error.line()} Back to {place_of(state, state.batch)}, with half the learning rate "
        f"(rollback {state.rollbacks} of {MOST_ROLLBACKS})"
    )
