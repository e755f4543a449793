"""The trainable state: weights, optimizer state, averages and pending gradients; and its update."""

from __future__ import annotations

from typing import Any

from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array, Share
from cnn_cli.optim.accumulate import Accumulator
from cnn_cli.optim.averages import make_average
from cnn_cli.optim.optimizer import clip_grad_norm
from cnn_cli.optim.optimizers import make_optimizer
from cnn_cli.optim.schedule import CosineConfig, learning_rate
from cnn_cli.runs.checkpoint import Checkpoint
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.divergence import check_finite
from cnn_cli.training.setup import TrainingSetup

HEAD_SCHEDULE = CosineConfig(warmup_epochs=0.0)


class Learner:
    """What an update changes and a checkpoint stores.

    Args:
        setup: the set-up of the training; its initial weights become the weights.

    Attributes:
        params: the weights.
        optimizer: the optimizer with its state.
        average: an average of the weights, or None.
        accumulator: accumulates gradients; None if every batch is an update.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        config, params = setup.config.train, setup.initial.params
        self.params = params
        self.optimizer = make_optimizer(config.optimizer, params)
        self.average = make_average(params, config.ema, config.lookahead)
        every = config.accumulate
        self.accumulator = Accumulator(params, every) if every > 1 else None
        self._config = config
        self._updates_per_epoch = setup.updates_per_epoch

    @property
    def weights(self) -> Parameters:
        """The weights to evaluate, apart from estimated batch statistics."""
        return self.params if self.average is None else self.average.params

    def learn(
        self, gradient: Array, divisor: float, batch: int, state: TrainingState, share: Share
    ) -> None:
        """Update the weights with a batch's gradient, or add it to the pending gradient.

        Args:
            gradient: like `params.flat`; overwritten.
            divisor: divisor of the batch, see `Accumulator`.
            batch: number of the batch in the epoch.
            state: gives the epoch and what the learning rate depends on.
            share: as in `Optimizer.step`.
        """
        for part in self.optimizer.groups.frozen:
            gradient[part] = 0
        if self.accumulator is None:
            self._update(gradient, batch, state, share)
        else:
            self.accumulator.add(gradient, divisor, batch)

    def finish_update_before(self, batch: int, state: TrainingState, share: Share) -> None:
        """Apply the pending update if the batch of that number belongs to a later one."""
        if self.accumulator is not None and self.accumulator.is_due(batch):
            self._update(self.accumulator.take(), self.accumulator.batch, state, share)

    def finish_epoch(self, state: TrainingState, share: Share) -> None:
        """Apply the pending update: the last one of an epoch may have fewer batches."""
        self.finish_update_before(self._updates_per_epoch * self._config.accumulate, state, share)

    def _update(self, gradient: Array, batch: int, state: TrainingState, share: Share) -> None:
        """Clip, step and average; `batch` is the last batch of the update."""
        number = state.epoch * self._updates_per_epoch + batch // self._config.accumulate
        if self._config.clip_grad_norm is not None:
            clip_grad_norm(gradient, self._config.clip_grad_norm)
        self.optimizer.step(gradient, self._learning_rate(number, state), share)
        if self.average is not None:
            updates = self._config.epochs * self._updates_per_epoch
            self.average.update(self.params, number + 1, updates)

    def last_learning_rate(self, state: TrainingState) -> float:
        """Return the learning rate of the last update in the current epoch."""
        return self._learning_rate((state.epoch + 1) * self._updates_per_epoch - 1, state)

    def _learning_rate(self, update: int, state: TrainingState) -> float:
        train, per_epoch, first = self._config, self._updates_per_epoch, self._config.head_epochs
        if train.head is not None and update < first * per_epoch:
            rate = learning_rate(HEAD_SCHEDULE, train.head.lr, update, per_epoch, first)
        else:
            rate = learning_rate(
                train.scheduler,
                train.optimizer.lr,
                update - first * per_epoch,
                per_epoch,
                train.epochs - first,
                state.rows[first:],
            )
        return state.lr_factor * rate

    def groups(self) -> dict[str, Any]:
        """Return the arrays of a checkpoint by group and name."""
        groups = {"model": model_of(self.params), "optimizer": self.optimizer.named_state()}
        if self.average is not None:
            groups["ema"] = model_of(self.average.params)
        if self.accumulator is not None and self.accumulator.pending:
            groups["accumulated"] = self.accumulator.named()
        return groups

    def load(self, checkpoint: Checkpoint, place: str, batch: int) -> None:
        """Load the arrays that `groups` returned.

        Args:
            checkpoint: a checkpoint of a run.
            place: its name, for messages.
            batch: number of batches done in the current epoch.

        Raises:
            DataError: the arrays belong to another network.
        """
        groups = checkpoint.groups
        self.params.load(groups.get("model", {}), place)
        if self.accumulator is not None:
            self.accumulator.load(groups.get("accumulated", {}), place, batch - 1)
        if self.average is not None:
            self.average.params.load(groups.get("ema", {}), place)
        self.optimizer.load_named_state(groups.get("optimizer", {}), place)

    def check(self, state: TrainingState) -> None:
        """Check that weights and statistics are finite, so that no unusable checkpoint is saved.

        Raises:
            DivergedError: they are not.
        """
        check_finite(self.params, state)


def model_of(params: Parameters) -> dict[str, Array]:
    """Return the weights and statistics that a checkpoint stores."""
    return params.named() | params.named_buffers()
