"""Augmentation with Pillow, one image at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.augment.draws import Stream, stream_for
from cnn_cli.data.augment.technique import Numbers
from cnn_cli.data.dataset import Indices
from cnn_cli.data.depth import Pixels

NEAREST = Image.Resampling.NEAREST

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


class OneByOne:
    """Changes to images (L or RGB), with a separate generator for each image.

    Pillow has no mode for other images. For those, an image of pixel positions (mode I) is changed,
    and the pixels are gathered from the positions it then contains. This suits techniques that move
    whole pixels.

    Args:
        seed: `train.seed`.
        edge: (channels,) the fill at the edges of such images; L and RGB are filled with black.

    Attributes:
        changes: by the stream of their random numbers, in the order of application.
    """

    def __init__(self, seed: int, edge: Numbers | float = 0.0) -> None:
        self._seed = seed
        self._edge = edge
        self.changes: dict[Stream, Change] = {}

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Augment images, (n, height, width, channels), in place."""
        plain = has_mode(images)
        for pixels, index in zip(images, indices.tolist(), strict=True):
            image = as_image(pixels) if plain else _places(*pixels.shape[:2])
            for stream, change in self.changes.items():
                image = change(image, stream_for(self._seed, stream, epoch, index))
            pixels[...] = as_pixels(image) if plain else self._moved(pixels, np.asarray(image))

    def _moved(self, pixels: Pixels, places: NDArray[np.int32]) -> Pixels:
        """Gather pixels by position; position 0 is outside the image."""
        edge = np.broadcast_to(self._edge, pixels.shape[2]).astype(pixels.dtype)
        moved: Pixels = np.concatenate([edge[None], pixels.reshape(-1, pixels.shape[2])])[places]
        return moved


def _places(height: int, width: int) -> Image.Image:
    """Return an image of pixel positions, from 1 on."""
    return Image.fromarray(np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width))


def has_mode(images: Pixels) -> bool:
    """Whether Pillow has a mode for these channels and this depth: L or RGB."""
    return images.dtype == np.uint8 and images.shape[-1] in (1, 3)


def as_image(pixels: Pixels) -> Image.Image:
    """Convert (height, width, channels) to a Pillow image, L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def as_pixels(image: Image.Image) -> Pixels:
    """Convert a Pillow image, L or RGB, to (height, width, channels); read-only."""
    pixels: Pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
