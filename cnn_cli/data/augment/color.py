"""color_jitter: brightness, contrast, saturation and hue, as torchvision's ColorJitter."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import model_validator

from cnn_cli.data.augment.draws import Stream, between
from cnn_cli.data.augment.pillow import OneByOne
from cnn_cli.data.augment.technique import NEVER, Adds, OfColors, Plan, TechniqueConfig
from cnn_cli.data.depth import Depth
from cnn_cli.schema.fields import NotBelow0, ShareToHalf, broken

COLOR_JITTER = Stream(6)


class ColorJitterConfig(TechniqueConfig):
    """Random brightness, contrast, saturation and hue, in random order.

    As torchvision's ColorJitter: a factor is drawn between max(0, 1 - x) and 1 + x, and the hue
    is rotated by -hue to hue, as a fraction of the circle. A lone number is brightness, contrast
    and saturation, as in timm.

    Attributes:
        brightness, contrast, saturation: largest deviation of the factor from 1.
        hue: largest rotation of the hue, as a fraction of the circle.
    """

    brightness: NotBelow0 = 0.0
    contrast: NotBelow0 = 0.0
    saturation: NotBelow0 = 0.0
    hue: ShareToHalf = 0.0

    @classmethod
    def from_lone(cls, value: Any) -> dict[str, Any]:
        return dict.fromkeys(("brightness", "contrast", "saturation"), value)

    @model_validator(mode="after")
    def _does_something(self) -> ColorJitterConfig:
        if not any((self.brightness, self.contrast, self.saturation, self.hue)):
            raise broken("must have a brightness, contrast, saturation or hue above 0")
        return self

    def misfit(self, image_size: tuple[int, int], channels: int, depth: Depth) -> str | None:
        if channels == 1 and (self.saturation or self.hue):
            return "saturation and hue need data.channels 3"
        return None


class ColorJitter:
    """Applies the operations that are on, in random order."""

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
    """Rotate each pixel's hue by the fraction `turn` of the circle; gray stays gray."""
    if image.mode == "L":
        return image
    hue, saturation, value = image.convert("HSV").split()
    moved = hue.point([(level + int(turn * 255)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def _add(plan: Plan, config: ColorJitterConfig) -> None:
    plan.shared(OneByOne).changes[COLOR_JITTER] = ColorJitter(config)


ColorJitterKey = Annotated[ColorJitterConfig | None, NEVER, OfColors(), Adds(_add)]
