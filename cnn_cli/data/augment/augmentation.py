"""All that the config's section `augment` asks for, in one place for the loader."""

from __future__ import annotations

from collections.abc import Sequence

from cnn_cli.data.augment.draws import Indices
from cnn_cli.data.augment.section import AugmentConfig
from cnn_cli.data.augment.technique import Adds, Crop, Plan, Step
from cnn_cli.data.decode import Preprocess
from cnn_cli.data.depth import Pixels

BLOCK_BYTES = 2**20  # of images changed together: they and a framed copy stay in cache


class Augmentation:
    """Changes to a batch of images; safe to use from several threads.

    Args:
        steps: change images in place, each as `__call__` does.
        crop: makes an image of what the cache keeps of it; None where that is the image.

    Attributes:
        crop: as above.
    """

    def __init__(self, steps: Sequence[Step], crop: Crop | None) -> None:
        self._steps = steps
        self.crop = crop

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Change images, cropped already, in place.

        Args:
            images: (n, height, width, channels), contiguous.
            indices: (n,) their positions in the split.
            epoch: counted from 0.
        """
        for step in self._steps:
            step(images, indices, epoch)

    def blocks(self, images: Pixels) -> list[slice]:
        """Rows of a batch that are best changed together, on one thread."""
        if not self._steps or not len(images):
            return []
        each = max(1, BLOCK_BYTES // images[0].nbytes)
        return [slice(start, start + each) for start in range(0, len(images), each)]


def make_augmentation(
    config: AugmentConfig, seed: int, pre: Preprocess, mean: tuple[float, ...]
) -> Augmentation | None:
    """What `config` asks for, mixing apart; None where that is nothing.

    Args:
        seed: `train.seed`.
        pre: what is made of every image.
        mean: of each channel, as of `Normalization`.
    """
    plan = Plan(seed, pre, mean)
    for key, field in AugmentConfig.model_fields.items():
        value = getattr(config, key)
        for mark in field.metadata:
            if value and isinstance(mark, Adds):
                mark.to(plan, value)
    return Augmentation(plan.steps, plan.crop) if plan.steps or plan.crop else None
