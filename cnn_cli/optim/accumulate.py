"""Gradient accumulation: the gradients of several batches for one update."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnn_cli.nn.params import Parameters, fill
from cnn_cli.nn.types import Array


class Accumulator:
    """The sum of the gradients since the last update.

    A batch's gradient is a sum over images, divided by a divisor: the number of images, or the sum
    of their class weights. The accumulator computes the mean over all images from both.

    Attributes:
        every: batches per update; the last update of an epoch may have fewer.
        batch: number in its epoch of the last batch added.
    """

    def __init__(self, params: Parameters, every: int) -> None:
        self.every = every
        self.batch = 0
        self._params = params
        self._sum, self._views = params.empty_like()
        self._divisor = np.zeros(())

    @property
    def pending(self) -> bool:
        """Whether there are gradients that no update has used."""
        return bool(self._divisor > 0)

    def is_due(self, batch: int) -> bool:
        """Whether gradients are pending for an update to which the batch of that number does not
        belong.
        """
        return self.pending and self.batch // self.every < batch // self.every

    def add(self, gradient: Array, divisor: float, batch: int) -> None:
        """Add a batch's gradient, which is overwritten."""
        self.batch = batch
        gradient *= divisor
        self._sum += gradient
        self._divisor += divisor

    def take(self) -> Array:
        """Return the mean gradient, valid until the next `add`, and clear the sum."""
        mean: Array = self._sum / self._divisor.astype(self._sum.dtype)
        self.clear()
        return mean

    def clear(self) -> None:
        """Discard the pending gradients."""
        self._sum.fill(0)
        self._divisor.fill(0)

    def named(self) -> dict[str, Array]:
        """Return the arrays for a checkpoint: `<layer>/<param>` in PyTorch's layouts, and
        `divisor`.
        """
        return self._params.named(self._views) | {"divisor": self._divisor}

    def load(self, arrays: Mapping[str, Array], place: str, batch: int) -> None:
        """Load what `named` returned; empty if nothing was pending.

        Args:
            arrays: arrays of a checkpoint.
            place: the checkpoint's name, for the message.
            batch: number of the last batch done.

        Raises:
            DataError: the arrays belong to another network.
        """
        self.clear()
        self.batch = batch
        if arrays:
            fill(self.named(), arrays, place)
