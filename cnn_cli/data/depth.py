"""`data.depth`, the precision of pixel values, and how to display such values."""

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
"""The full scale of each depth, which mean and std refer to; 1 for `float`."""

REAL_KINDS = "buif"
"""The `dtype.kind` of arrays of real numbers, booleans among them."""

STRETCH = (2, 98)  # percentiles that are displayed as black and white


def viewable(pixels: Pixels) -> NDArray[np.uint8]:
    """Convert an image to 8-bit gray or color, (h, w, 1 or 3), for display.

    Of more than three bands, the first three are displayed as red, green and blue; of two, the
    first. Values other than uint8 are stretched per band: the 2nd percentile is black, the 98th
    white.
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
