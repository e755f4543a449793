"""What Pillow does to an image, one at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.augment.draws import Indices, Part, stream_for
from cnn_cli.data.augment.technique import Numbers
from cnn_cli.data.depth import Pixels

NEAREST = Image.Resampling.NEAREST

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


class OneByOne:
    """Changes to images (L or RGB), each with a generator of its own for every image.

    Of other images, which Pillow has no mode for, an image of the places of the pixels is changed
    (I), and they are put where it says. That is for techniques that move whole pixels.

    Args:
        seed: `train.seed`.
        edge: (channels,) what comes in at the edges of such images; of L and RGB it is black.

    Attributes:
        changes: by what their numbers are for, in the order they are done.
    """

    def __init__(self, seed: int, edge: Numbers | float = 0.0) -> None:
        self._seed = seed
        self._edge = edge
        self.changes: dict[Part, Change] = {}

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Change images, (n, height, width, channels), in place."""
        plain = has_mode(images)
        for pixels, index in zip(images, indices.tolist(), strict=True):
            image = as_image(pixels) if plain else _places(*pixels.shape[:2])
            for part, change in self.changes.items():
                image = change(image, stream_for(self._seed, part, epoch, index))
            pixels[...] = as_pixels(image) if plain else self._moved(pixels, np.asarray(image))

    def _moved(self, pixels: Pixels, places: NDArray[np.int32]) -> Pixels:
        """The pixels that places stand for; 0 is outside."""
        edge = np.broadcast_to(self._edge, pixels.shape[2]).astype(pixels.dtype)
        moved: Pixels = np.concatenate([edge[None], pixels.reshape(-1, pixels.shape[2])])[places]
        return moved


def _places(height: int, width: int) -> Image.Image:
    """The numbers of an image's pixels, from 1 on."""
    return Image.fromarray(np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width))


def has_mode(images: Pixels) -> bool:
    """Whether Pillow has a mode for images of so many channels and bits: L or RGB."""
    return images.dtype == np.uint8 and images.shape[-1] in (1, 3)


def as_image(pixels: Pixels) -> Image.Image:
    """(height, width, channels) as Pillow's L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def as_pixels(image: Image.Image) -> Pixels:
    """Pillow's L or RGB as (height, width, channels), not to be written to."""
    pixels: Pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
