"""What becomes of pixels before a network sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Normalization:
    """Pixels from 0 to 255 become ``(pixel / 255 - mean) / std``, as in torchvision."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def scale_and_shift(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The same as ``pixel * scale + shift``, both (channels,)."""
        std = np.array(self.std)
        return 1 / (255 * std), -np.array(self.mean) / std
