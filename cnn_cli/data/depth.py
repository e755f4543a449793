"""How precise the numbers of a picture are: `data.depth`, and how such numbers are shown."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Depth = Literal[8, 16, "float"]
Pixels = NDArray[np.uint8 | np.uint16 | np.float32]

DTYPES: dict[Depth, np.dtype[Any]] = {
    8: np.dtype(np.uint8),
    16: np.dtype(np.uint16),
    "float": np.dtype(np.float32),
}
FULL_SCALE: dict[Depth, int] = {8: 255, 16: 65535, "float": 1}
"""What mean and std are parts of; numbers of `float` have no full scale and count as they are."""

STRETCH = (2, 98)  # percentiles that are shown as black and white


def viewable(pixels: Pixels) -> NDArray[np.uint8]:
    """A picture in grey or colour of 8 bits, (h, w, 1 or 3).

    Of more than three bands the first three are shown as red, green and blue, of two the first.
    Numbers of other types than bytes are stretched, each band by itself: its 2nd percentile is
    black, its 98th is white.
    """
    channels = pixels.shape[2]
    shown = pixels[..., : 3 if channels >= 3 else 1]
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown, np.uint8)
    x = shown.astype(np.float64)
    low, high = np.percentile(x, STRETCH, axis=(0, 1))
    x = (x - low) / np.where(high > low, high - low, 1)
    stretched: NDArray[np.uint8] = np.rint(255 * x.clip(0, 1)).astype(np.uint8)
    return stretched
