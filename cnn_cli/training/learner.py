"""All arrays that training moves: weights, the optimizer's state, averages, pending gradients."""

from __future__ import annotations

from typing import Any

from cnn_cli.config import Config
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.accumulate import Accumulator
from cnn_cli.optim.averages import make_average
from cnn_cli.optim.optimizer import clip_grad_norm
from cnn_cli.optim.optimizers import make_optimizer
from cnn_cli.runs.checkpoint import Checkpoint
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.divergence import check_finite


class Learner:
    """What an update moves, and a checkpoint keeps.

    Args:
        config: how they move.
        params: the weights, which are moved.

    Attributes:
        optimizer: and its state.
        average: of the weights; None without.
        accumulator: of gradients; None where every batch is an update.
    """

    def __init__(self, config: Config, params: Parameters) -> None:
        self.params = params
        self.optimizer = make_optimizer(config.train.optimizer, params)
        self.average = make_average(params, config.train.ema, config.train.lookahead)
        every = config.train.accumulate
        self.accumulator = Accumulator(params, every) if every > 1 else None
        self._most_norm = config.train.clip_grad_norm

    @property
    def weights(self) -> Parameters:
        """What is evaluated, but for statistics."""
        return self.params if self.average is None else self.average.params

    def update(self, gradient: Array, lr: float, number: int, updates: int) -> None:
        """Move the weights against the gradient, which is overwritten.

        Args:
            gradient: like `params.flat`.
            lr: the learning rate.
            number: of the update, from 1.
            updates: of the whole training.
        """
        if self._most_norm is not None:
            clip_grad_norm(gradient, self._most_norm)
        self.optimizer.step(gradient, lr)
        if self.average is not None:
            self.average.update(self.params, number, updates)

    def groups(self) -> dict[str, Any]:
        """The arrays of a checkpoint by group and name."""
        groups = {"model": model_of(self.params), "optimizer": self.optimizer.named_state()}
        if self.average is not None:
            groups["ema"] = model_of(self.average.params)
        if self.accumulator is not None and self.accumulator.pending:
            groups["accumulated"] = self.accumulator.named()
        return groups

    def load(self, checkpoint: Checkpoint, place: str, batch: int) -> None:
        """Take over what `groups` gave.

        Args:
            checkpoint: of a run.
            place: its name, for messages.
            batch: batches of the epoch under way that were done.

        Raises:
            DataError: the arrays are another network's.
        """
        groups = checkpoint.groups
        self.params.load(groups.get("model", {}), place)
        if self.accumulator is not None:
            self.accumulator.load(groups.get("accumulated", {}), place, batch - 1)
        if self.average is not None:
            self.average.params.load(groups.get("ema", {}), place)
        self.optimizer.load_named_state(groups.get("optimizer", {}), place)

    def check(self, state: TrainingState) -> None:
        """Nothing is saved that could not be used.

        Raises:
            DivergedError: weights or statistics are not finite.
        """
        check_finite(self.params, state)


def model_of(params: Parameters) -> dict[str, Array]:
    """What a checkpoint keeps of weights and their statistics."""
    return params.named() | params.named_buffers()
