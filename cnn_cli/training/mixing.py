"""Mixup and CutMix: which images of a batch are mixed, and in which ratio.

An image's partner is its predecessor in the epoch's random order; the first of the batch takes the
last. This is as random as any pair, and what torchvision's MixUp and CutMix do. Both are in the
same shard. Ratios and boxes depend on (seed, epoch, position in that order).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn_cli.config import AugmentConfig, Config
from cnn_cli.data.shards import partners
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.types import Array
from cnn_cli.rng import Purpose, generator, uniforms

BLOCK = 1024  # strengths drawn from one generator: one generator each would be slower
MIXUP, CUTMIX, CHOICE = range(3)


class Mixer:
    """Draws the mix of a batch.

    If both techniques are on, each image gets either with equal probability (as in timm) and is
    then mixed with that technique's probability `p`.

    Args:
        config: the `mixup` and `cutmix` sections; at least one is on.
        seed: `train.seed`.
        image_size: height and width in pixels.
        shards: `data.shards`.
    """

    def __init__(
        self, config: AugmentConfig, seed: int, image_size: tuple[int, int], shards: int = 1
    ) -> None:
        self._mixup = config.mixup
        self._cutmix = config.cutmix
        self._seed = seed
        self._image_size = image_size
        self._shards = shards

    def mix(self, epoch: int, start: int, n: int, image_size: tuple[int, int] | None = None) -> Mix:
        """Draw the mix of a batch.

        Args:
            epoch: counted from 0.
            start: position of the batch's first image in the epoch's order.
            n: number of images.
            image_size: their height and width if they were shrunk.
        """
        positions = np.arange(start, start + n)
        choice = uniforms(self._seed, Purpose.MIX, epoch, positions, CHOICE, 4)
        pasted = np.full(n, self._mixup is None)
        if self._mixup is not None and self._cutmix is not None:
            pasted = choice[:, 0] < 0.5
        ratios, strengths = np.ones(n), np.ones(n)
        boxes = np.zeros((n, 4), np.int64)
        if self._mixup is not None:
            rows = ~pasted & (choice[:, 1] < self._mixup.p)
            strengths[rows] = self._strengths(MIXUP, self._mixup.alpha, epoch, positions)[rows]
            ratios[rows] = strengths[rows]
        if self._cutmix is not None:
            rows = pasted & (choice[:, 1] < self._cutmix.p)
            cuts = self._strengths(CUTMIX, self._cutmix.alpha, epoch, positions)[rows]
            boxes[rows], ratios[rows] = cut_boxes(
                cuts, choice[rows, 2:], image_size or self._image_size
            )
        return Mix(partners(n, self._shards), ratios, strengths, boxes)

    def _strengths(
        self, technique: int, alpha: float, epoch: int, positions: NDArray[np.int64]
    ) -> Array:
        """Draw λ ~ Beta(alpha, alpha) for consecutive positions."""
        first, last = int(positions[0]) // BLOCK, int(positions[-1]) // BLOCK
        drawn = [
            generator(self._seed, Purpose.MIX, epoch, block, technique).beta(alpha, alpha, BLOCK)
            for block in range(first, last + 1)
        ]
        strengths: Array = np.concatenate(drawn)[positions - first * BLOCK]
        return strengths


def make_mixer(config: Config) -> Mixer | None:
    """Return the mixer that `augment` asks for, or None."""
    augment, data = config.augment, config.data
    if augment.mixup is None and augment.cutmix is None:
        return None
    return Mixer(augment, config.train.seed, data.image_size, data.shards)


def cut_boxes(
    strengths: Array, centers: Array, image_size: tuple[int, int]
) -> tuple[NDArray[np.int64], Array]:
    """Compute the boxes that CutMix pastes: Yun et al. 2019, equation 2, clipped as in their code.

    Args:
        strengths: (n,) λ: a box has √(1-λ) of the height and of the width.
        centers: (n, 2) vertical and horizontal centers from 0 to 1; a box may extend beyond the
            image.
        image_size: height and width in pixels.

    Returns:
        (n, 4) top, left, bottom, right, and (n,) the fraction of the area that remains.
    """
    size = np.array(image_size)
    halves = (size * np.sqrt(1 - strengths)[:, None]).astype(np.int64) // 2
    middles = (size * centers).astype(np.int64)
    corners = np.clip(middles - halves, 0, size)
    ends = np.clip(middles + halves, 0, size)
    left_over = 1 - (ends - corners).prod(axis=1) / size.prod()
    return np.concatenate([corners, ends], axis=1), left_over


def dominant_labels(labels: Array, mix: Mix | None) -> Array:
    """Return the label with the larger ratio for each image, which the training's top-1 counts."""
    if mix is None:
        return labels
    dominant: Array = labels[np.where(mix.ratios < 0.5, mix.partners, np.arange(len(labels)))]
    return dominant
