"""An image in gray under its heat map in color."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cnn_cli.data.depth import Pixels
from cnn_cli.nn.types import Array

# Magma, by S. van der Walt and N. Smith (2015, matplotlib, CC0), at 16 even steps: perceptually
# uniform, also for color-blind readers. Brightness increases with the value.
MAGMA = (
    "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75"
    " de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
)
HEAT = 0.6  # opacity of the heat map over the gray image


def overlay(pixels: Pixels, heat: Array) -> Pixels:
    """Blend an image in gray with its heat map in color.

    Args:
        pixels: (h, w, 1 or 3).
        heat: (rows, columns) from 0 to 1; enlarged by bilinear interpolation.

    Returns:
        (h, w, 3).
    """
    height, width = pixels.shape[:2]
    image = Image.fromarray(heat.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    color = colors(np.asarray(image).clip(0, 1))
    gray = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("L")
    mixed = HEAT * color + (1 - HEAT) * np.asarray(gray, np.float32)[..., None]
    return np.rint(mixed).astype(np.uint8)


def colors(heat: Array) -> Array:
    """Apply the color map: heat from 0 to 1, of any shape, to (*shape, 3) from 0 to 255."""
    table = np.array([list(bytes.fromhex(color)) for color in MAGMA.split()], np.float32)
    steps = np.linspace(0, 1, len(table))
    return np.stack([np.interp(heat, steps, table[:, i]) for i in range(3)], axis=-1)
