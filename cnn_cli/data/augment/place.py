"""Flips and moves: array operations on a whole batch of bytes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.augment.draws import Indices, Part, below, numbers_for
from cnn_cli.data.decode import Pixels


class Place:
    """`hflip`, `vflip` and `pad_crop`, which share four numbers an image.

    Args:
        seed: `train.seed`.
        hflip: share of the images, or `alternating`: a random half in the first epoch, and from
            then on every second epoch (arXiv:2404.00498, section 3.6).
        vflip: share of the images.
        padding: pixels to move by at most, in either direction.
        mirrored: what comes in is the image, reflected at its outermost pixels; else it is 0.
    """

    def __init__(
        self,
        seed: int,
        hflip: float | Literal["alternating"] = 0.0,
        vflip: float = 0.0,
        padding: int = 0,
        *,
        mirrored: bool = False,
    ) -> None:
        self._seed = seed
        self._hflip = hflip
        self._vflip = vflip
        self._padding = padding
        self._mirrored = mirrored

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Change images, (n, height, width, channels) and contiguous, in place."""
        numbers = numbers_for(self._seed, Part.PLACE, epoch, indices, 4)
        if self._hflip:
            rows = np.flatnonzero(self._flipped(numbers[:, 0], indices, epoch))
            pixels = _whole_pixels(images)
            pixels[rows] = pixels[rows][:, :, ::-1]
        if self._vflip:
            rows = np.flatnonzero(numbers[:, 1] < self._vflip)
            images[rows] = images[rows][:, ::-1]
        if self._padding:
            self._move(images, below(numbers[:, 2:], 2 * self._padding + 1))

    def _flipped(
        self, numbers: NDArray[np.float64], indices: Indices, epoch: int
    ) -> NDArray[np.bool_]:
        if self._hflip == "alternating":
            first = numbers_for(self._seed, Part.FIRST_FLIP, 0, indices, 1)[:, 0] < 0.5
            return first ^ bool(epoch % 2)
        return numbers < self._hflip

    def _move(self, images: Pixels, corners: NDArray[np.int64]) -> None:
        """Cut each image out of a framed copy; its corner there is (row, column)."""
        pad, (n, height, width, channels) = self._padding, images.shape
        framed = np.zeros((n, height + 2 * pad, width + 2 * pad, channels), np.uint8)
        framed[:, pad:-pad, pad:-pad] = images
        if self._mirrored:
            _mirror(framed.swapaxes(0, 1), pad)
            _mirror(_whole_pixels(framed).transpose(2, 0, 1), pad)
        for image, frame, (top, left) in zip(images, framed, corners.tolist(), strict=True):
            image[...] = frame[top : top + height, left : left + width]


def _mirror(framed: NDArray[Any], pad: int) -> None:
    """Fill `pad` lines at both ends of the first axis by reflection at the line next to them."""
    framed[:pad] = framed[2 * pad : pad : -1]
    framed[-pad:] = framed[-pad - 2 : -2 * pad - 2 : -1]


def _whole_pixels(images: Pixels) -> NDArray[Any]:
    """(n, height, width) pixels: copied whole, three bytes take a third of the steps."""
    return images.view(np.dtype((np.void, images.shape[-1])))[..., 0]
