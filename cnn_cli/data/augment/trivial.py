"""trivialaugment: one random operation of random strength, in the wide variant.

Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
algorithm 1 and table 1 (TA wide), with the 31 strengths of torchvision's TrivialAugmentWide. As
there, geometric operations use nearest-neighbor interpolation and fill with black.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from cnn_cli.data.augment.draws import Stream
from cnn_cli.data.augment.pillow import NEAREST, OneByOne
from cnn_cli.data.augment.technique import NEVER, Adds, OfColors, Plan
from cnn_cli.schema.fields import Must

TRIVIALAUGMENT = Stream(4)
STRENGTHS = 31

Operation = Callable[[Image.Image, float], Image.Image]


def trivial_augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Apply one of `OPERATIONS` with one of 31 strengths, with the opposite sign half of the
    time.
    """
    which, strength, side = rng.random(3)
    act, most, either_side = OPERATIONS[int(which * len(OPERATIONS))]
    level = most * int(strength * STRENGTHS) / (STRENGTHS - 1)
    return act(image, -level if either_side and side < 0.5 else level)


def _identity(image: Image.Image, _: float) -> Image.Image:
    return image


def _shear_x(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, level, 0, 0, 1, 0))


def _shear_y(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, 0, 0, level, 1, 0))


def _translate_x(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, 0, -int(level), 0, 1, 0))


def _translate_y(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, -int(level)))


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """Transform an image: the pixel at (x, y) comes from (a x + b y + c, d x + e y + f)."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, NEAREST)


def _rotate(image: Image.Image, level: float) -> Image.Image:
    return image.rotate(level, NEAREST)


def _brightness(image: Image.Image, level: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1 + level)


def _color(image: Image.Image, level: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(1 + level)


def _contrast(image: Image.Image, level: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(1 + level)


def _sharpness(image: Image.Image, level: float) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(1 + level)


def _posterize(image: Image.Image, level: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(level))


def _solarize(image: Image.Image, level: float) -> Image.Image:
    """Invert all pixels of at least 255 - level."""
    return ImageOps.solarize(image, 255 - level)  # type: ignore[arg-type]  # floats will do


def _autocontrast(image: Image.Image, _: float) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, _: float) -> Image.Image:
    return ImageOps.equalize(image)


OPERATIONS: tuple[tuple[Operation, float, bool], ...] = (
    (_identity, 0.0, False),
    (_shear_x, 0.99, True),
    (_shear_y, 0.99, True),
    (_translate_x, 32.0, True),
    (_translate_y, 32.0, True),
    (_rotate, 135.0, True),
    (_brightness, 0.99, True),
    (_color, 0.99, True),
    (_contrast, 0.99, True),
    (_sharpness, 0.99, True),
    (_posterize, 6.0, False),
    (_solarize, 255.0, False),
    (_autocontrast, 0.0, False),
    (_equalize, 0.0, False),
)
"""Operation, greatest strength, and whether it has a sign."""


def _add(plan: Plan, on: bool) -> None:
    plan.shared(OneByOne).changes[TRIVIALAUGMENT] = trivial_augment


TrivialAugmentKey = Annotated[bool | None, NEVER, Must("true or false"), OfColors(), Adds(_add)]
