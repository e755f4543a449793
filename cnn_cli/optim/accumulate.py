"""Gradients of several batches for one update, as if the batches were one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnn_cli.nn.params import Parameters, fill
from cnn_cli.nn.types import Array


class Accumulator:
    """The sum of the gradients since the last update.

    A batch's gradient is a mean: a sum over a divisor, which is the number of images or the sum of
    their class weights. The mean over all images is found from both.

    Attributes:
        every: batches of an update; the last update of an epoch may have fewer.
        batch: number in its epoch of the last one that was added.
    """

    def __init__(self, params: Parameters, every: int) -> None:
        self.every = every
        self.batch = 0
        self._params = params
        self._sum, self._views = params.empty_like()
        self._divisor = np.zeros(())

    @property
    def pending(self) -> bool:
        """Whether there are gradients that no update has taken."""
        return bool(self._divisor > 0)

    def is_due(self, batch: int) -> bool:
        """Whether something is pending that a batch of that number does not belong to."""
        return self.pending and self.batch // self.every < batch // self.every

    def add(self, gradient: Array, divisor: float, batch: int) -> None:
        """Add a batch's gradient, which is overwritten."""
        self.batch = batch
        gradient *= divisor
        self._sum += gradient
        self._divisor += divisor

    def take(self) -> Array:
        """The mean gradient, good until the next `add`; from now on nothing is pending."""
        mean: Array = self._sum / self._divisor.astype(self._sum.dtype)
        self.clear()
        return mean

    def clear(self) -> None:
        """Forget what is pending."""
        self._sum.fill(0)
        self._divisor.fill(0)

    def named(self) -> dict[str, Array]:
        """What a checkpoint keeps: `<layer>/<param>` in PyTorch's layouts, and `divisor`."""
        return self._params.named(self._views) | {"divisor": self._divisor}

    def load(self, arrays: Mapping[str, Array], place: str, batch: int) -> None:
        """Take over what `named` gave; nothing where nothing was pending.

        Args:
            arrays: of a checkpoint.
            place: the checkpoint's name, for the message.
            batch: the last one that was done.

        Raises:
            DataError: the arrays are another network's.
        """
        self.clear()
        self.batch = batch
        if arrays:
            fill(self.named(), arrays, place)
