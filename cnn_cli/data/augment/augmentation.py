"""All that the config's section `augment` asks for, in one place for the loader."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from cnn_cli.config.augment import AugmentConfig
from cnn_cli.data.augment.color import ColorJitter
from cnn_cli.data.augment.crop import RandomResizedCrop
from cnn_cli.data.augment.draws import Indices, Part
from cnn_cli.data.augment.erase import RandomErase
from cnn_cli.data.augment.pillow import Change, OneByOne
from cnn_cli.data.augment.place import Place
from cnn_cli.data.augment.trivial import NEAREST, trivial_augment
from cnn_cli.data.decode import Pixels, Preprocess

BLOCK_BYTES = 2**20  # of images changed together: they and a framed copy stay in cache

Step = Callable[[Pixels, Indices, int], None]


class Augmentation:
    """Changes to a batch of images; safe to use from several threads.

    Args:
        steps: change images in place, each as `__call__` does.
        crop: makes an image of what the cache keeps of it; None where that is the image.

    Attributes:
        crop: as above.
    """

    def __init__(self, steps: tuple[Step, ...], crop: RandomResizedCrop | None) -> None:
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
        mean: of each channel, of pixels from 0 to 1.
    """
    steps: list[Step] = []
    padding = config.pad_crop
    if config.hflip or config.vflip or padding:
        steps.append(
            Place(
                seed,
                hflip=config.hflip or 0.0,
                vflip=config.vflip or 0.0,
                padding=0 if padding is None else padding.padding,
                mirrored=padding is not None and padding.padding_mode == "reflect",
            )
        )
    changes: dict[Part, Change] = {}
    if config.trivialaugment:
        changes[Part.TRIVIALAUGMENT] = trivial_augment
    if config.rotate:
        changes[Part.ROTATE] = rotation(config.rotate)
    if config.color_jitter:
        changes[Part.COLOR_JITTER] = ColorJitter(config.color_jitter)
    if changes:
        steps.append(OneByOne(seed, changes))
    if config.random_erase and config.random_erase.p:
        steps.append(RandomErase(config.random_erase, seed, mean))
    crop = None
    if config.random_resized_crop:
        crop = RandomResizedCrop(config.random_resized_crop, seed, pre)
    return Augmentation(tuple(steps), crop) if steps or crop else None


def rotation(degrees: float) -> Change:
    """`rotate`: about the centre, by an angle up to `degrees` to either side; corners are black.

    Each pixel is the nearest one of the original, as in torchvision's RandomRotation: bilinear
    interpolation took 0.8 ms for 224×224 pixels, and this takes 0.06.
    """

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return image.rotate(rng.uniform(-degrees, degrees), NEAREST)

    return change
