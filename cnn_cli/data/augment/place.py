"""hflip, vflip and pad_crop: array operations on a whole batch of uint8 pixels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.augment.draws import Stream, below, numbers_for
from cnn_cli.data.augment.technique import NEVER, Adds, Numbers, Plan, TechniqueConfig
from cnn_cli.data.dataset import Indices
from cnn_cli.data.depth import Depth, Pixels
from cnn_cli.schema.fields import Also, Count, Must, Share

PLACE, FIRST_FLIP = Stream(1), Stream(2)
FEW_CHANNELS = 4  # up to which a copy for each takes less time than pixels of so many bytes


class PadCropConfig(TechniqueConfig):
    """Shift by up to `padding` pixels in each direction (torchvision's RandomCrop).

    Attributes:
        padding: largest shift in pixels.
        padding_mode: `zeros` fills the edges with black, as torchvision and about as He et al.
            2015; `reflect` mirrors the image without its outermost row, as arXiv:2404.00498.
    """

    padding: Count
    padding_mode: Annotated[Literal["zeros", "reflect"], Must("zeros or reflect")] = "zeros"

    def misfit(self, image_size: tuple[int, int], channels: int, depth: Depth) -> str | None:
        if self.padding_mode == "reflect" and self.padding >= min(image_size):
            return "padding must be below data.image_size to be reflected"
        return None


class Place:
    """`hflip`, `vflip` and `pad_crop`, which share four random numbers per image.

    Args:
        seed: `train.seed`.
        edge: (channels,) the fill at the edges; by default 0.
        hflip: fraction of the images, or `alternating`: a random half in the first epoch, and each
            image in every second epoch from then on (arXiv:2404.00498, section 3.6).
        vflip: fraction of the images.
        padding: the largest shift in pixels, in each direction.
        mirrored: fill by reflection at the outermost pixels; else with `edge`.
    """

    def __init__(
        self,
        seed: int,
        edge: Numbers | float = 0.0,
        *,
        hflip: float | Literal["alternating"] = 0.0,
        vflip: float = 0.0,
        padding: int = 0,
        mirrored: bool = False,
    ) -> None:
        self._seed = seed
        self._edge = edge
        self.hflip = hflip
        self.vflip = vflip
        self.padding = padding
        self.mirrored = mirrored

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Augment images, (n, height, width, channels) and contiguous, in place."""
        numbers = numbers_for(self._seed, PLACE, epoch, indices, 4)
        if self.hflip:
            flipped = _flipped(self.hflip, numbers[:, 0], self._seed, indices, epoch)
            _flip(images, np.flatnonzero(flipped))
        if self.vflip:
            rows = np.flatnonzero(numbers[:, 1] < self.vflip)
            images[rows] = images[rows][:, ::-1]
        if self.padding:
            self._move(images, below(numbers[:, 2:], 2 * self.padding + 1))

    def _move(self, images: Pixels, corners: NDArray[np.int64]) -> None:
        """Replace each image by a part of its padded copy.

        Args:
            corners: (n, 2) row and column in the copy of each part's top left corner.
        """
        pad, (n, height, width, channels) = self.padding, images.shape
        framed = np.zeros((n, height + 2 * pad, width + 2 * pad, channels), images.dtype)
        if np.any(self._edge):
            framed[...] = self._edge
        framed[:, pad:-pad, pad:-pad] = images
        if self.mirrored:
            _mirror(framed.swapaxes(0, 1), pad)
            _mirror(_whole_pixels(framed).transpose(2, 0, 1), pad)
        for image, frame, (top, left) in zip(images, framed, corners.tolist(), strict=True):
            image[...] = frame[top : top + height, left : left + width]


class CropMirror:
    """`hflip` of images that are cropped: chooses the same ones as `Place`.

    Args:
        seed: `train.seed`.
        hflip: as for `Place`.
    """

    def __init__(self, seed: int, hflip: float | Literal["alternating"]) -> None:
        self._seed = seed
        self._hflip = hflip

    def __call__(self, indices: Indices, epoch: int) -> NDArray[np.bool_]:
        numbers = numbers_for(self._seed, PLACE, epoch, indices, 1)[:, 0]
        return _flipped(self._hflip, numbers, self._seed, indices, epoch)


def _flipped(
    hflip: float | Literal["alternating"],
    numbers: NDArray[np.float64],
    seed: int,
    indices: Indices,
    epoch: int,
) -> NDArray[np.bool_]:
    if hflip == "alternating":
        first = numbers_for(seed, FIRST_FLIP, 0, indices, 1)[:, 0] < 0.5
        return first ^ bool(epoch % 2)
    return numbers < hflip


def _flip(images: Pixels, rows: Indices) -> None:
    """Mirror the images of `rows` left to right."""
    if images.shape[-1] > FEW_CHANNELS:
        pixels = _whole_pixels(images)
        pixels[rows] = pixels[rows][:, :, ::-1]
        return
    copies = images[rows]
    for channel in range(images.shape[-1]):
        images[rows, :, :, channel] = copies[:, :, ::-1, channel]


def _mirror(framed: NDArray[Any], pad: int) -> None:
    """Fill `pad` rows at both ends of the first axis by reflection at the adjacent row."""
    framed[:pad] = framed[2 * pad : pad : -1]
    framed[-pad:] = framed[-pad - 2 : -2 * pad - 2 : -1]


def _whole_pixels(images: Pixels) -> NDArray[Any]:
    """View the images as (n, height, width) pixels: copying whole pixels takes a third of the
    steps.
    """
    return images.view(np.dtype((np.void, images.itemsize * images.shape[-1])))[..., 0]


def _every_second(value: Any) -> Any:
    """Replace `true` by the usual fraction of flipped images, and `false` by none."""
    if isinstance(value, bool):
        return 0.5 if value else None
    return value


def _add_hflip(plan: Plan, share: float | Literal["alternating"]) -> None:
    if plan.crop is None:
        plan.shared(Place).hflip = share
    else:
        plan.mirror = CropMirror(plan.seed, share)


def _add_vflip(plan: Plan, share: float) -> None:
    plan.shared(Place).vflip = share


def _add_pad_crop(plan: Plan, config: PadCropConfig) -> None:
    place = plan.shared(Place)
    place.padding, place.mirrored = config.padding, config.padding_mode == "reflect"


EVERY_SECOND = Also(_every_second, lambda _: {"type": "boolean"})

HFlipKey = Annotated[
    Share | Literal["alternating"] | None,
    EVERY_SECOND,
    Must("a number from 0 to 1, or alternating"),
    Adds(_add_hflip),
]
VFlipKey = Annotated[Share | None, EVERY_SECOND, Adds(_add_vflip)]
PadCropKey = Annotated[PadCropConfig | None, NEVER, Adds(_add_pad_crop)]
