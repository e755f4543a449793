"""Two images in one, made where the network reads them: in its own numbers, chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_cli.nn.types import Array


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """What becomes of the images of a batch.

    Attributes:
        partners: (n,) row of each image's second image; images are read as they came, so that a
            second image is never a mixed one.
        ratios: (n,) the first image's share of the label, from 0 to 1; 1 where nothing is mixed.
        strengths: (n,) the first image's share of every pixel; 1 where a rectangle is pasted.
        boxes: (n, 4) top, left, bottom, right of what the second image covers; empty if nothing.
    """

    partners: Array
    ratios: Array
    strengths: Array
    boxes: Array

    def rows(self, start: int, stop: int) -> Mix:
        """The mix of some images, whose partners are still rows of the whole batch."""
        part = slice(start, stop)
        return Mix(self.partners[part], self.ratios[part], self.strengths[part], self.boxes[part])


def blend(images: Array, others: Array, mix: Mix) -> None:
    """Mix `others`, the second images, into `images`.

    Args:
        images: (n, h, w, c) of floats, written.
        others: of the same shape, overwritten.
        mix: of these rows: λ x + (1 - λ) x' (Zhang et al. 2017) with λ its strengths, and the box
            of x' in place of that of x (Yun et al. 2019).
    """
    for image, other, box in zip(images, others, mix.boxes.tolist(), strict=True):
        top, left, bottom, right = box
        if top < bottom and left < right:
            image[top:bottom, left:right] = other[top:bottom, left:right]
    if (mix.strengths < 1).any():
        others -= images
        others *= (1 - mix.strengths).astype(images.dtype)[:, None, None, None]
        images += others
