"""Progressive resizing: smaller training images in the first epochs, which cost less.

The schedule is that of MosaicML Composer's ProgressiveResizing, after fastai: images of a constant
size, then growing linearly, then full-sized ones. It counts whole epochs, so that all batches of an
epoch have one size.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from cnn_cli.schema.fields import Also, Count, Frozen, PartAbove0, Share, broken

ImageSize = tuple[int, int]  # height and width in pixels
ROUNDING = 1e-6  # of an epoch: 0.9 times 10 epochs may be just above 9


class ProgressiveResizingConfig(Frozen):
    """Train on smaller images in the first epochs: more epochs in the same time.

    The images are shrunk after they are augmented, before they are mixed. Validation and the
    epochs of `head` use the full size.

    Attributes:
        initial_scale: size of the first epochs' images, as a fraction of data.image_size.
        delay_fraction: fraction of the epochs with that size, before it grows.
        finetune_fraction: fraction of the epochs with the full size, at the end.
        size_increment: smaller heights and widths are rounded to multiples of this many pixels.
    """

    initial_scale: PartAbove0 = 0.5
    delay_fraction: Share = 0.5
    finetune_fraction: Share = 0.2
    size_increment: Count = 4

    @model_validator(mode="after")
    def _fractions_fit(self) -> ProgressiveResizingConfig:
        if self.delay_fraction + self.finetune_fraction > 1:
            raise broken("delay_fraction and finetune_fraction must be at most 1 together")
        return self

    def image_size(self, full: ImageSize, epoch: int, epochs: int) -> ImageSize:
        """Return the size of an epoch's images.

        Args:
            full: the full size.
            epoch: counted from 0.
            epochs: number of all epochs.
        """
        first, last = self.delay_fraction * epochs, (1 - self.finetune_fraction) * epochs
        if epoch > last - ROUNDING:
            return full
        grown = max(0.0, (epoch - first) / (last - first)) if last > first else 0.0
        scale = self.initial_scale + (1 - self.initial_scale) * grown
        height, width = (self._rounded(side, scale) for side in full)
        return height, width

    def _rounded(self, side: int, scale: float) -> int:
        step = self.size_increment
        return min(side, max(step, round(side * scale / step) * step))


def _all_defaults(value: object) -> object:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


ProgressiveResizing = Annotated[
    ProgressiveResizingConfig | None, Also(_all_defaults, lambda _: {"type": "boolean"})
]
