"""What is said of numbers that are not finite."""

from __future__ import annotations

import numpy as np

from cnn_cli.errors import DivergedError
from cnn_cli.nn.params import Parameters
from cnn_cli.runs.state import TrainingState

MOST_ROLLBACKS = 3


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
