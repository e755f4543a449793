"""What Pillow does to an image, one at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from cnn_cli.data.augment.draws import Indices, Part, stream_for
from cnn_cli.data.decode import Pixels

NEAREST = Image.Resampling.NEAREST

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


class OneByOne:
    """Changes to images (L or RGB), each with a generator of its own for every image.

    Args:
        seed: `train.seed`.

    Attributes:
        changes: by what their numbers are for, in the order they are done.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.changes: dict[Part, Change] = {}

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Change images, (n, height, width, channels), in place."""
        for pixels, index in zip(images, indices.tolist(), strict=True):
            image = as_image(pixels)
            for part, change in self.changes.items():
                image = change(image, stream_for(self._seed, part, epoch, index))
            pixels[...] = as_pixels(image)


def as_image(pixels: Pixels) -> Image.Image:
    """(height, width, channels) as Pillow's L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def as_pixels(image: Image.Image) -> Pixels:
    """Pillow's L or RGB as (height, width, channels), not to be written to."""
    pixels: Pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
