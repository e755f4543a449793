"""The augmentation that the config's section `augment` describes, as one object for the loader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.augment.section import AugmentConfig
from cnn_cli.data.augment.technique import Adds, Crop, Mirror, Plan, Resample, Step
from cnn_cli.data.dataset import Indices
from cnn_cli.data.depth import Pixels
from cnn_cli.data.preprocess import Preprocess

BLOCK_BYTES = 2**20  # of images changed together: a block and its padded copy fit the cache


class Augmentation:
    """Random changes to a batch of images; thread-safe.

    Args:
        steps: each changes images in place, as `__call__` does.
        crop: cuts an image out of its cached version; None if the cache holds the image itself.
        mirror: chooses the images that `crop` mirrors; None for none.

    Attributes:
        crop: as above.
    """

    def __init__(
        self, steps: Sequence[Step], crop: Crop | None, mirror: Mirror | None = None
    ) -> None:
        self._steps = steps
        self.crop = crop
        self._mirror = mirror

    def mirrored(self, indices: Indices, epoch: int) -> NDArray[np.bool_]:
        """Return which of the images `crop` is to mirror."""
        if self._mirror is None:
            return np.zeros(len(indices), np.bool_)
        return self._mirror(indices, epoch)

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Augment images in place, after cropping."""
        for step in self._steps:
            step(images, indices, epoch)

    def blocks(self, images: Pixels) -> list[slice]:
        """Split a batch into slices that are best augmented together, on one thread each."""
        if not self._steps or not len(images):
            return []
        each = max(1, BLOCK_BYTES // images[0].nbytes)
        return [slice(start, start + each) for start in range(0, len(images), each)]


def make_augmentation(
    config: AugmentConfig,
    seed: int,
    pre: Preprocess,
    mean: tuple[float, ...],
    resample: Resample | None = None,
) -> Augmentation | None:
    """Create the augmentation that `config` asks for, without mixing; None if there is none.

    Args:
        seed: `train.seed`.
        pre: the preprocessing of every image.
        mean: mean of each channel, as in `Normalization`.
        resample: resizes parts of images, with the same result as Pillow, which does it by default.
    """
    plan = Plan(seed, pre, mean, resample)
    for key, field in AugmentConfig.model_fields.items():
        value = getattr(config, key)
        for mark in field.metadata:
            if value and isinstance(mark, Adds):
                mark.to(plan, value)
    return Augmentation(plan.steps, plan.crop, plan.mirror) if plan.steps or plan.crop else None
