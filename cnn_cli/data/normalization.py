"""What becomes of pixels before a network sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.depth import FULL_SCALE, Depth
from cnn_cli.structs import Struct


class Normalization(Struct):
    """Pixels become ``(pixel / full - mean) / std``, as in torchvision.

    `full` is the largest number of 8 or 16 bits; pixels of `float` are taken as they are.

    Attributes:
        mean, std: a number a channel.
        depth: of the pixels; those of `float` are no whole numbers, which an engine is to be told.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    depth: Depth = 8

    @classmethod
    def stored(cls, meta: Mapping[str, Any]) -> Normalization:
        """As a checkpoint's document has it."""
        depth = meta["preprocess"].get("depth", 8)
        return cls(tuple(meta["mean"]), tuple(meta["std"]), depth)

    def scale_and_shift(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The same as ``pixel * scale + shift``, both (channels,)."""
        std = np.array(self.std)
        return 1 / (FULL_SCALE[self.depth] * std), -np.array(self.mean) / std
