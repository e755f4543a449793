"""How an image becomes the network's input: size, channels, depth, and how it is resized."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from cnn_cli.data.depth import DTYPES, Depth
from cnn_cli.structs import Struct

ResizeMode = Literal["crop", "squash", "letterbox"]


class Preprocess(Struct):
    """The preprocessing of every image.

    Attributes:
        height, width: in pixels.
        channels: 1 (gray), 3 (red, green, blue), or the number of bands of other images.
        resize_mode: `crop` scales the image to cover the box and keeps its center, `squash` ignores
            the aspect ratio, `letterbox` scales it to fit and pads with gray.
        depth: bits per value, or `float`; see `samples` for depths other than 8.
    """

    height: int
    width: int
    channels: int
    resize_mode: ResizeMode = "crop"
    depth: Depth = 8

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the pixels."""
        return DTYPES[self.depth]

    @property
    def is_plain(self) -> bool:
        """Whether images are converted to Pillow's L or RGB."""
        return self.depth == 8 and self.channels in (1, 3)
