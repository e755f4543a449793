"""Mix two images into one, in the network's dtype and chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_cli.nn.types import Array


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """How the images of a batch are mixed.

    Attributes:
        partners: (n,) row of each image's second image, which is read unmixed.
        ratios: (n,) the first image's fraction of the label, from 0 to 1; 1 without mixing.
        strengths: (n,) the first image's fraction of every pixel; 1 if a rectangle is pasted.
        boxes: (n, 4) top, left, bottom, right of the part covered by the second image; may be
            empty.
    """

    partners: Array
    ratios: Array
    strengths: Array
    boxes: Array

    def rows(self, start: int, stop: int) -> Mix:
        """Return the mix of some images; their partners are still rows of the whole batch."""
        part = slice(start, stop)
        return Mix(self.partners[part], self.ratios[part], self.strengths[part], self.boxes[part])


def blend(images: Array, others: Array, mix: Mix) -> None:
    """Mix `others`, the second images, into `images`.

    Args:
        images: (n, h, w, c) floats, written.
        others: of the same shape, overwritten.
        mix: of these rows: λ x + (1 - λ) x' (Zhang et al. 2017) with λ its strengths, and the box
            of x' replacing that of x (Yun et al. 2019).
    """
    for image, other, box in zip(images, others, mix.boxes.tolist(), strict=True):
        top, left, bottom, right = box
        if top < bottom and left < right:
            image[top:bottom, left:right] = other[top:bottom, left:right]
    if (mix.strengths < 1).any():
        others -= images
        others *= (1 - mix.strengths).astype(images.dtype)[:, None, None, None]
        images += others
