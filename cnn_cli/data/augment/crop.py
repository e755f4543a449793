"""random_resized_crop: a random part of an image, resized to the network's size.

torchvision's RandomResizedCrop cuts the part out of the original. Here images are decoded once and
cached, larger than the network's input: whole, and squashed to one size; the aspect ratio is
stored. A part's position and shape are relative to the image, so it equals a part of the original
except for sharpness. In the cached size, a part with the mean area of `scale` has as many pixels as
the network's input: the larger half of the parts loses nothing, the others are slightly blurred.
The size is the same for every `data.cache`; images that are smaller, such as CIFAR's, keep their
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, log, sqrt
from typing import Annotated

import numpy as np
import PIL
from PIL import Image

from cnn_cli.data.augment.draws import Stream, stream_for
from cnn_cli.data.augment.pillow import as_image, as_pixels, has_mode
from cnn_cli.data.augment.technique import (
    NEVER,
    Adds,
    Plan,
    Ratio,
    Resample,
    Scale,
    TechniqueConfig,
)
from cnn_cli.data.decode import upright_size
from cnn_cli.data.depth import Pixels
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.resize import BILINEAR, fit_bands
from cnn_cli.structs import replace

CROP = Stream(3)
TRIES = 10  # as in torchvision
SAMPLE = 16  # images whose size is looked up


class RandomResizedCropConfig(TechniqueConfig):
    """A random part, resized to `data.image_size` (as torchvision's RandomResizedCrop).

    Attributes:
        scale: smallest and largest fraction of the image's area.
        ratio: smallest and largest width / height of the part.
    """

    scale: Scale = (0.08, 1.0)
    ratio: Ratio = (3 / 4, 4 / 3)


class RandomResizedCrop:
    """torchvision's RandomResizedCrop on squashed images.

    Args:
        config: scale and ratio.
        seed: `train.seed`.
        pre: the preprocessing, which gives the final size.
        resample: resizes parts of color images, unless the installed Pillow gives other bits.
    """

    def __init__(
        self,
        config: RandomResizedCropConfig,
        seed: int,
        pre: Preprocess,
        resample: Resample | None = None,
    ) -> None:
        self._config = config
        self._seed = seed
        self.shape = pre.shape
        color = has_mode(np.empty((0, *pre.shape), pre.dtype)) and pre.channels == 3
        usable = color and resample is not None and _as_pillow(resample)
        self._resample = resample if usable else None

    def __call__(
        self, kept: Pixels, aspect: float, index: int, epoch: int, out: Pixels, *, mirror: bool
    ) -> None:
        """Cut a part out of one image and resize it.

        Args:
            kept: (height, width, channels), the whole squashed image.
            aspect: its original width / height.
            index: its position in the split.
            epoch: counted from 0.
            out: (`shape`) written.
            mirror: left to right, after the cut.
        """
        numbers = stream_for(self._seed, CROP, epoch, index).random(2 * TRIES + 2).tolist()
        width, height = choose_part(self._config, aspect, numbers[2:])
        columns, left = _on_grid(width, kept.shape[1], numbers[0])
        rows, top = _on_grid(height, kept.shape[0], numbers[1])
        height, width, _ = self.shape
        if self._resample is not None:
            order = rows_first(rows, columns, height, width)
            self._resample(kept, (top, left, rows, columns), out, mirror=mirror, rows_first=order)
            return
        part = kept[top : top + rows, left : left + columns]
        if not has_mode(part):
            fitted = fit_bands(part, (height, width), "squash")
            out[...] = fitted[:, ::-1] if mirror else fitted
            return
        image = as_image(part).resize((width, height), BILINEAR)
        if mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        out[...] = as_pixels(image)


def rows_first(rows: int, columns: int, height: int, width: int) -> bool:
    """Return whether Pillow resamples rows x columns along the rows before it does the columns.

    From version 13 on it does not where the height shrinks by more than twice as much as the width.
    """
    reverses = int(PIL.__version__.split(".")[0]) >= 13
    return not reverses or rows - height <= max(0, 2 * (columns - width))


def _as_pillow(resample: Resample) -> bool:
    """Whether pictures of a few sizes are resized to the bits of the installed Pillow."""
    height, width = 8, 9
    noise = np.random.default_rng(0)
    for rows, columns in ((5, 6), (11, 7), (30, 10), (10, 40)):
        x = noise.integers(0, 256, (rows, columns, 3), np.uint8)
        expected = as_pixels(as_image(x).resize((width, height), BILINEAR))
        out = np.empty((height, width, 3), np.uint8)
        order = rows_first(rows, columns, height, width)
        resample(x, (0, 0, rows, columns), out, mirror=False, rows_first=order)
        if not np.array_equal(out, expected):
            return False
    return True


def choose_part(
    config: RandomResizedCropConfig, aspect: float, numbers: Sequence[float]
) -> tuple[float, float]:
    """Choose width and height of a part, as fractions of the image's.

    Area and ratio are drawn until the part fits, at most ten times; then the largest centered part
    with an allowed ratio is used.

    Args:
        aspect: width / height of the image.
        numbers: two uniform numbers in [0, 1) per try.
    """
    scale, ratio = config.scale, config.ratio
    for share, shape in zip(numbers[::2], numbers[1::2], strict=True):
        area = scale[0] + (scale[1] - scale[0]) * share
        chosen = exp(log(ratio[0]) + log(ratio[1] / ratio[0]) * shape)
        width, height = sqrt(area * chosen / aspect), sqrt(area * aspect / chosen)
        if width <= 1 and height <= 1:
            return width, height
    if aspect < ratio[0]:
        return 1.0, aspect / ratio[0]
    return min(1.0, ratio[1] / aspect), 1.0


def _on_grid(share: float, length: int, number: float) -> tuple[int, int]:
    """Return a fraction of `length` in pixels, at least one, and a random start."""
    count = min(length, max(1, round(share * length)))
    return count, int(number * (length - count + 1))


def kept_preprocess(
    config: RandomResizedCropConfig | None, pre: Preprocess, paths: Sequence[str]
) -> Preprocess:
    """Return the preprocessing of cached images: `pre` itself, or larger to cut parts from.

    Args:
        config: scale and ratio of the parts; None without this technique.
        pre: the preprocessing of the network's input.
        paths: the image files; the sizes of a few are looked up.
    """
    if config is None:
        return pre
    grown = 1 / sqrt((config.scale[0] + config.scale[1]) / 2)
    height, width = ceil(pre.height * grown), ceil(pre.width * grown)
    sizes = [upright_size(path) for path in paths[:: max(1, len(paths) // SAMPLE)]]
    known = [size for size in sizes if size is not None]
    if known:
        most = np.max(known, axis=0)
        width, height = min(width, int(most[0])), min(height, int(most[1]))
    return replace(pre, height=height, width=width, resize_mode="squash")


def _add(plan: Plan, config: RandomResizedCropConfig) -> None:
    plan.crop = RandomResizedCrop(config, plan.seed, plan.pre, plan.resample)


RandomResizedCropKey = Annotated[RandomResizedCropConfig | None, NEVER, Adds(_add)]
