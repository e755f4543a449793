"""color_jitter: brightness, contrast, saturation and hue, as torchvision's ColorJitter."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from cnn_cli.config.augment import ColorJitterConfig
from cnn_cli.data.augment.draws import between


class ColorJitter:
    """What is off is left out; the others come in random order."""

    def __init__(self, config: ColorJitterConfig) -> None:
        self._config = config

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        config, (factors, ranks) = self._config, rng.random((2, 4))
        for which in ranks.argsort():
            if which == 3 and config.hue:
                image = turn_hue(image, float(between(factors[3], -config.hue, config.hue)))
                continue
            kind, most = (
                (ImageEnhance.Brightness, config.brightness),
                (ImageEnhance.Contrast, config.contrast),
                (ImageEnhance.Color, config.saturation),
                (None, 0.0),
            )[which]
            if kind is not None and most:
                factor = between(factors[which], max(0.0, 1 - most), 1 + most)
                image = kind(image).enhance(float(factor))
        return image


def turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Move each pixel's hue around the circle, of which `turn` is a part; grey stays grey."""
    if image.mode == "L":
        return image
    hue, saturation, value = image.convert("HSV").split()
    moved = hue.point([(level + int(turn * 255)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")
