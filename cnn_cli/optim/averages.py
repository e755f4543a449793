"""Averages of the weights over a training's steps, which are evaluated in the trained ones' place.

Running statistics are averaged like weights, so that they stay those of the averaged network.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.optimizer import BLOCK, blocks
from cnn_cli.schema.fields import Count, Frozen, NotBelow0, ShareBelow1


class Average:
    """Weights that follow the trained ones.

    Args:
        trained: where they begin.

    Attributes:
        params: the averaged weights and running statistics.
    """

    def __init__(self, trained: Parameters) -> None:
        self.params = trained.copy()
        self._scratch = np.empty(BLOCK, trained.dtype)

    def update(self, trained: Parameters, step: int, steps: int) -> None:
        """Follow a step of training.

        Args:
            trained: the weights after it; Lookahead writes them.
            step: its number, from 1.
            steps: of the whole training.
        """
        raise NotImplementedError

    def _approach(self, trained: Parameters, share: float) -> None:
        """Go a share of the way from the average to the trained weights."""
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges shows in the loss
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
    """The exponential moving average, as timm's ModelEmaV2: decay·average + (1 - decay)·trained."""

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
    """Slow weights, to which the trained ones come back (Zhang et al. 2019, algorithm 1).

    Each `every` steps the slow weights keep ``decay * (step / steps) ** power`` of themselves and
    take the rest of the trained ones, which go on from there; momentum stays as it is.
    """

    def __init__(self, trained: Parameters, config: LookaheadConfig) -> None:
        super().__init__(trained)
        self.config = config

    def update(self, trained: Parameters, step: int, steps: int) -> None:
        config = self.config
        if step % config.every:
            return
        self._approach(trained, 1 - config.decay * (step / steps) ** config.power)
        trained.copy_from(self.params)


def make_average(
    trained: Parameters, ema: float | None, lookahead: LookaheadConfig | None
) -> Average | None:
    """What `train.ema` or `train.lookahead` asks for; None where neither is given."""
    if ema is not None:
        return Ema(trained, ema)
    return None if lookahead is None else Lookahead(trained, lookahead)
