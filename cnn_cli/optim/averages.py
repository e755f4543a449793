"""Weight averages over the steps of a training, evaluated instead of the trained weights.

Running statistics are averaged like weights, so that they fit the averaged network.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.optimizer import BLOCK, blocks
from cnn_cli.schema.fields import Count, Frozen, NotBelow0, ShareBelow1


class Average:
    """Averaged weights.

    Args:
        trained: the initial values.

    Attributes:
        params: the averaged weights and running statistics.
    """

    def __init__(self, trained: Parameters) -> None:
        self.params = trained.copy()
        self._scratch = np.empty(BLOCK, trained.dtype)

    def update(self, trained: Parameters, step: int, steps: int) -> None:
        """Update the average after a step.

        Args:
            trained: the weights after the step; Lookahead overwrites them.
            step: number of the step, from 1.
            steps: number of steps of the whole training.
        """
        raise NotImplementedError

    def _approach(self, trained: Parameters, share: float) -> None:
        """Move the average towards the trained weights by a fraction of the difference."""
        with np.errstate(over="ignore", invalid="ignore"):  # divergence shows in the loss
            self._move(self.params.flat, trained.flat, share)
            self._move(self.params.flat_buffers, trained.flat_buffers, share)
        self.params.touch()

    def _move(self, average: Array, trained: Array, share: float) -> None:
        for block in blocks(slice(0, average.size), BLOCK):
            way = self._scratch[: block.stop - block.start]
            np.subtract(trained[block], average[block], out=way)
            way *= share
            average[block] += way


class Ema(Average):
    """Exponential moving average, as in timm's ModelEmaV2: decay·average + (1 - decay)·trained."""

    def __init__(self, trained: Parameters, decay: float) -> None:
        super().__init__(trained)
        self.decay = decay

    def update(self, trained: Parameters, step: int, steps: int) -> None:
        self._approach(trained, 1 - self.decay)


class LookaheadConfig(Frozen):
    """Slow weights, to which the fast weights return (Zhang et al. 2019).

    Attributes:
        every: steps of the fast weights per step of the slow ones (k).
        decay: fraction of the slow weights that a slow step keeps (1 - α).
        power: multiplies the decay by (step / all steps) to this power, so that averaging
            starts weak. arXiv:2404.00498 uses 3, with a decay of 0.95^5 = 0.774.
    """

    every: Count = 5
    decay: ShareBelow1 = 0.5
    power: NotBelow0 = 0.0


class Lookahead(Average):
    """Lookahead: slow weights, to which the trained weights return (Zhang et al. 2019, algorithm
    1).

    Every `every` steps, the slow weights become a weighted mean: ``decay * (step / steps) **
    power`` of themselves, the rest of the trained weights, which continue from there. Momentum is
    unchanged.
    """

    def __init__(self, trained: Parameters, config: LookaheadConfig) -> None:
        super().__init__(trained)
        self.config = config

    def update(self, trained: Parameters, step: int, steps: int) -> None:
        config = self.config
        if step % config.every:
            return
        way = min(step / steps, 1.0)  # `cnn lr` may take more steps than it planned
        self._approach(trained, 1 - config.decay * way**config.power)
        trained.copy_from(self.params)


def make_average(
    trained: Parameters, ema: float | None, lookahead: LookaheadConfig | None
) -> Average | None:
    """Return the average that `train.ema` or `train.lookahead` asks for, or None."""
    if ema is not None:
        return Ema(trained, ema)
    return None if lookahead is None else Lookahead(trained, lookahead)
