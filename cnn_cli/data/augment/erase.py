"""random_erase: paint over a rectangle in each image."""

from __future__ import annotations

from math import log
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from cnn_cli.data.augment.draws import Stream, below, between, numbers_for, stream_for
from cnn_cli.data.augment.technique import NEVER, Adds, Plan, Ratio, Scale, TechniqueConfig
from cnn_cli.data.dataset import Indices
from cnn_cli.data.depth import FULL_SCALE, Depth, Pixels
from cnn_cli.schema.fields import Count, Must, Share, broken

ERASE, NOISE = Stream(7), Stream(8)
TRIES = 10  # as in torchvision


class RandomEraseConfig(TechniqueConfig):
    """Paint over a rectangle (Zhong et al. 2017) or a square (DeVries and Taylor 2017: Cutout).

    Attributes:
        p: fraction of the images; by default 0.5, with `size` 1.
        scale: smallest and largest fraction of the image's area; (0.02, 0.33) without `size`.
        ratio: smallest and largest height / width; (0.3, 3.3) without `size`.
        size: instead of `scale` and `ratio`: side in pixels of a square, whose center lies
            anywhere in the image, so that part of it may lie outside.
        value: the `mean` of the training images (0 after normalization), or `random` noise.
    """

    p: Share = 0.5
    scale: Scale | None = (0.02, 0.33)
    ratio: Ratio | None = (0.3, 3.3)
    size: Count | None = None
    value: Annotated[Literal["mean", "random"], Must("mean or random")] = "mean"

    @model_validator(mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        """Fill in the defaults for a square."""
        if isinstance(value, dict) and value.get("size") is not None:
            return {"p": 1.0, "scale": None, "ratio": None} | value
        return value

    def misfit(self, image_size: tuple[int, int], channels: int, depth: Depth) -> str | None:
        if self.value == "random" and depth == "float":
            return "value must be mean for data.depth float, whose numbers have no full scale"
        return None

    @model_validator(mode="after")
    def _rectangle_or_square(self) -> RandomEraseConfig:
        both = self.scale, self.ratio
        if self.size is not None and both != (None, None):
            raise broken("size makes a square: it leaves no room for scale and ratio")
        if self.size is None and None in both:
            raise broken("must have a scale and a ratio, or a size")
        return self


class RandomErase:
    """Random erasing (Zhong et al. 2017, algorithm 1; as torchvision's RandomErasing) or, with
    `size`, Cutout (DeVries and Taylor 2017).

    Args:
        config: shape, probability and fill.
        seed: `train.seed`.
        mean: mean of each channel, as in `Normalization`.
        depth: depth of the pixels.
    """

    def __init__(
        self, config: RandomEraseConfig, seed: int, mean: tuple[float, ...], depth: Depth = 8
    ) -> None:
        self._config = config
        self._seed = seed
        self._mean = np.array(mean)
        if depth != "float":
            self._mean = np.rint(FULL_SCALE[depth] * np.clip(mean, 0, 1))

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Augment images, (n, height, width, channels), in place."""
        numbers = numbers_for(self._seed, ERASE, epoch, indices, 3 + 2 * TRIES)
        chosen = np.flatnonzero(numbers[:, 0] < self._config.p)
        boxes = self._boxes(numbers[chosen, 1:], images.shape[1], images.shape[2])
        for row, (top, left, bottom, right) in zip(chosen.tolist(), boxes.tolist(), strict=True):
            part = images[row, top:bottom, left:right]
            if self._config.value == "mean":
                part[...] = self._mean
            else:
                rng = stream_for(self._seed, NOISE, epoch, int(indices[row]))
                part[...] = rng.integers(0, 256**part.itemsize, part.shape, part.dtype)

    def _boxes(self, numbers: NDArray[np.float64], height: int, width: int) -> NDArray[np.int64]:
        """Return (n, 4): top, left, bottom, right of the erased box, within the image."""
        size = self._config.size
        if size is not None:
            centers = below(numbers[:, :2], np.array([height, width]))
            corners = centers - size // 2
            both = np.concatenate([corners, corners + size], axis=1)
            boxes: NDArray[np.int64] = np.clip(both, 0, [height, width] * 2)
            return boxes
        sides = self._sides(numbers[:, 2:], height, width)
        corners = below(numbers[:, :2], np.array([height, width]) - sides + 1)
        return np.concatenate([corners, corners + sides], axis=1)

    def _sides(self, numbers: NDArray[np.float64], height: int, width: int) -> NDArray[np.int64]:
        """Return (n, 2): height and width of the first of ten rectangles that fits; 0 if none
        does.
        """
        scale, ratio = self._config.scale, self._config.ratio
        if scale is None or ratio is None:
            raise ValueError("squares of one size have neither scale nor ratio")
        area = height * width * between(numbers[:, :TRIES], *scale)
        shape = np.exp(between(numbers[:, TRIES:], log(ratio[0]), log(ratio[1])))
        sides = np.rint(np.sqrt([area * shape, area / shape])).astype(np.int64)
        fits = (sides[0] < height) & (sides[1] < width)
        first = fits.argmax(axis=1)
        rows = np.arange(len(numbers))
        found: NDArray[np.int64] = np.where(fits[rows, first], sides[:, rows, first], 0).T
        return found


def _add(plan: Plan, config: RandomEraseConfig) -> None:
    if config.p:
        plan.steps.append(RandomErase(config, plan.seed, plan.mean, plan.pre.depth))


RandomEraseKey = Annotated[RandomEraseConfig | None, NEVER, Adds(_add)]
