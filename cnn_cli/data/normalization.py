"""The normalization of pixels before they enter a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.depth import FULL_SCALE, Depth
from cnn_cli.structs import Struct


class Normalization(Struct):
    """Pixels become ``(pixel / full - mean) / std``, as in torchvision.

    `full` is the largest 8-bit or 16-bit value; pixels of depth `float` are not scaled.

    Attributes:
        mean, std: one number per channel.
        depth: depth of the pixels; the engine must know whether they are integers.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    depth: Depth = 8

    @classmethod
    def stored(cls, meta: Mapping[str, Any]) -> Normalization:
        """Read the normalization from a checkpoint's metadata."""
        depth = meta["preprocess"].get("depth", 8)
        return cls(tuple(meta["mean"]), tuple(meta["std"]), depth)

    def scale_and_shift(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the equivalent ``pixel * scale + shift``, both (channels,)."""
        std = np.array(self.std)
        return 1 / (FULL_SCALE[self.depth] * std), -np.array(self.mean) / std

    def for_engine(self) -> dict[str, Any]:
        """Return the arguments of `Engine` that normalize its images."""
        scale, shift = self.scale_and_shift()
        return {"scale": scale, "shift": shift, "scale_floats": self.depth == "float"}
