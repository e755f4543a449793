"""Views of one image whose scores are averaged: test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.depth import Pixels
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.structs import Struct, replace

TTAKind = Literal["hflip", "multicrop", "tencrop"]
TTA: tuple[str, ...] = get_args(TTAKind)

SHIFT = 32  # multicrop shifts by one pixel of this many
LARGER = 8 / 7  # tencrop decodes at 256 for 224 pixels, as in torchvision's examples


class View(NamedTuple):
    """A crop of the decoded image.

    Attributes:
        weight: weight of its scores.
        row, column: of the crop's first pixel.
        mirrored: flipped left to right.
    """

    weight: float
    row: int
    column: int
    mirrored: bool


class Views(Struct):
    """How images are decoded, and which crops of them are classified.

    Attributes:
        pre: preprocessing of the decoded image.
        margin: pixels of reflection padding around it.
        height, width: size of a crop.
        views: the views; their weights add up to 1.
    """

    pre: Preprocess
    margin: int
    height: int
    width: int
    views: tuple[View, ...]

    def of(self, images: Pixels) -> Iterator[tuple[float, Pixels]]:
        """Yield the weight and the pixels of each view."""
        if self.margin:
            around = (self.margin, self.margin)
            images = np.pad(images, ((0, 0), around, around, (0, 0)), mode="reflect")
        for weight, row, column, mirrored in self.views:
            crop = images[:, row : row + self.height, column : column + self.width]
            yield weight, np.ascontiguousarray(crop[:, :, ::-1] if mirrored else crop)

    def mean(self, images: Pixels, compute: Callable[[Pixels], NDArray[Any]]) -> NDArray[Any]:
        """Return the weighted mean of what a function computes from each view."""
        views = self.of(images)
        weight, pixels = next(views)
        total = weight * compute(pixels)
        for weight, pixels in views:
            total += weight * compute(pixels)
        return total


def make_views(name: str, pre: Preprocess) -> Views:
    """Return the views of a kind of test-time augmentation.

    `hflip` is the image and its mirror image. `multicrop` adds both, shifted by one pixel in 32
    towards either end of the diagonal, at half the weight (Jordan 2024, arXiv:2404.00498, section
    3.5; there one pixel of 32). `tencrop` decodes at 8/7 of the size and takes the four corners,
    the center, and their mirror images (torchvision's `TenCrop`).

    Args:
        name: one of `TTA`.
        pre: the preprocessing of the network's training.
    """
    margin = 0
    larger = pre
    match name:
        case "hflip":
            places = [(0.5, 0, 0)]
        case "multicrop":
            margin = max(1, round(min(pre.height, pre.width) / SHIFT))
            ends = ((0, 0), (2 * margin, 2 * margin))
            places = [(0.25, margin, margin), *((0.125, *end) for end in ends)]
        case "tencrop":
            larger = replace(
                pre, height=round(pre.height * LARGER), width=round(pre.width * LARGER)
            )
            rows, columns = larger.height - pre.height, larger.width - pre.width
            corners = [(row, column) for row in (0, rows) for column in (0, columns)]
            places = [(0.1, *at) for at in (*corners, (rows // 2, columns // 2))]
        case _:
            raise ValueError(name)
    views = tuple(View(*place, mirrored) for place in places for mirrored in (False, True))
    return Views(larger, margin, pre.height, pre.width, views)
