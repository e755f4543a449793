"""The config's section `augment`: random changes to the images that a network is trained on.

A technique is written with its arguments, ``pad_crop: {padding: 4, padding_mode: reflect}``, with
its first one alone, ``pad_crop: 4``, or as ``true`` where every argument has a default. What is
left out, ``false`` or null is off.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator

from cnn_cli.schema.fields import (
    Above0,
    Also,
    Count,
    Degrees,
    Frozen,
    Must,
    NotBelow0,
    PartAbove0,
    Share,
    ShareToHalf,
    broken,
)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise broken("must be two numbers, the smaller one first")
    return pair


def _never(value: Any) -> Any:
    """`false` turns a technique off."""
    return None if value is False else value


def _every_second(value: Any) -> Any:
    """`true` is the usual share of flipped images."""
    return 0.5 if value is True else _never(value)


NEVER = Also(_never, lambda _: {"const": False})
EVERY_SECOND = Also(_every_second, lambda _: {"type": "boolean"})

Scale = Annotated[
    tuple[PartAbove0, PartAbove0],
    AfterValidator(_ordered),
    Must("two numbers above 0, up to 1, the smaller one first"),
]
Ratio = Annotated[
    tuple[Above0, Above0],
    AfterValidator(_ordered),
    Must("two numbers above 0, the smaller one first"),
]


class TechniqueConfig(Frozen):
    """A technique with arguments."""

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        """Turn the ways of writing it into a mapping of arguments."""
        if value is True:
            return {}
        return value if isinstance(value, dict | cls) else cls.from_lone(value)

    @classmethod
    def from_lone(cls, value: Any) -> dict[str, Any]:
        """The arguments that a lone value stands for: the first one."""
        return {next(iter(cls.model_fields)): value}

    @classmethod
    def also_written(cls, schema: dict[str, Any]) -> list[dict[str, Any]]:
        lone = schema["properties"][next(iter(cls.model_fields))]
        return [lone] if schema.get("required") else [lone, {"const": True}]


class RandomResizedCropConfig(TechniqueConfig):
    """A part of the image, resized to `data.image_size` (as torchvision's RandomResizedCrop).

    Attributes:
        scale: least and largest share of the image's area.
        ratio: least and largest width / height of the part.
    """

    scale: Scale = (0.08, 1.0)
    ratio: Ratio = (3 / 4, 4 / 3)


class PadCropConfig(TechniqueConfig):
    """Moved by up to `padding` pixels up or down and left or right (torchvision's RandomCrop).

    Attributes:
        padding: largest move in pixels.
        padding_mode: what comes in at the edges: black, as in torchvision and about as in He et
            al. 2015, or the image mirrored without its outermost row, as in arXiv:2404.00498.
    """

    padding: Count
    padding_mode: Annotated[Literal["zeros", "reflect"], Must("zeros or reflect")] = "zeros"


class ColorJitterConfig(TechniqueConfig):
    """Factors of brightness, contrast and saturation and a turn of the hue, in random order.

    As torchvision's ColorJitter: a factor is drawn between max(0, 1 - x) and 1 + x, the turn
    between -hue and hue of the whole circle. A lone number is brightness, contrast and
    saturation, as in timm.

    Attributes:
        brightness, contrast, saturation: how far the factor goes from 1.
        hue: how far the turn goes.
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


class RandomEraseConfig(TechniqueConfig):
    """A rectangle painted over (Zhong et al. 2017), or a square (DeVries and Taylor 2017: Cutout).

    Attributes:
        p: share of the images; 0.5, or with `size` 1.
        scale: least and largest share of the image's area; (0.02, 0.33) without `size`.
        ratio: least and largest height / width; (0.3, 3.3) without `size`.
        size: instead of `scale` and `ratio`: side in pixels of a square whose centre is anywhere
            in the image, so that a part of it may lie outside.
        value: `mean` of the training images, which the network sees as 0, or `random` bytes.
    """

    p: Share = 0.5
    scale: Scale | None = (0.02, 0.33)
    ratio: Ratio | None = (0.3, 3.3)
    size: Count | None = None
    value: Annotated[Literal["mean", "random"], Must("mean or random")] = "mean"

    @model_validator(mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        """What a square's defaults are."""
        if isinstance(value, dict) and value.get("size") is not None:
            return {"p": 1.0, "scale": None, "ratio": None} | value
        return value

    @model_validator(mode="after")
    def _rectangle_or_square(self) -> RandomEraseConfig:
        both = self.scale, self.ratio
        if self.size is not None and both != (None, None):
            raise broken("size makes a square: it leaves no room for scale and ratio")
        if self.size is None and None in both:
            raise broken("must have a scale and a ratio, or a size")
        return self


class MixConfig(TechniqueConfig):
    """Two images in one, with both labels.

    Attributes:
        alpha: the share of the first one is drawn from Beta(alpha, alpha).
        p: share of the images that are mixed.
    """

    alpha: Above0 = 1.0
    p: Share = 1.0


class MixupConfig(MixConfig):
    """Both images all over, the one faint and the other strong (Zhang et al. 2017)."""


class CutMixConfig(MixConfig):
    """A rectangle of the second image over the first one (Yun et al. 2019)."""


TECHNIQUES: dict[str, type[TechniqueConfig]] = {
    "random_resized_crop": RandomResizedCropConfig,
    "pad_crop": PadCropConfig,
    "color_jitter": ColorJitterConfig,
    "random_erase": RandomEraseConfig,
    "mixup": MixupConfig,
    "cutmix": CutMixConfig,
}


class AugmentConfig(Frozen):
    """Random changes to the training images, in the order in which they are done.

    Attributes:
        random_resized_crop: a part of the image, in place of `data.resize_mode`.
        hflip: share of the images that are mirrored left to right. `alternating`
            (arXiv:2404.00498): chance says which half is mirrored in the first epoch; from then
            on it is the other half each time.
        vflip: share of the images that are mirrored upside down.
        pad_crop: moved by a few pixels.
        trivialaugment: one of 14 operations of random strength (Müller and Hutter 2021, wide).
        rotate: by up to so many degrees to either side.
        color_jitter: brighter or darker, and with other colours.
        random_erase: a rectangle or a square painted over.
        mixup, cutmix: two images in one; where both are given, chance says which an image gets.
    """

    random_resized_crop: Annotated[RandomResizedCropConfig | None, NEVER] = None
    hflip: Annotated[
        Share | Literal["alternating"] | None,
        EVERY_SECOND,
        Must("a number from 0 to 1, or alternating"),
    ] = None
    vflip: Annotated[Share | None, EVERY_SECOND] = None
    pad_crop: Annotated[PadCropConfig | None, NEVER] = None
    trivialaugment: Annotated[bool | None, NEVER, Must("true or false")] = None
    rotate: Annotated[Degrees | None, NEVER] = None
    color_jitter: Annotated[ColorJitterConfig | None, NEVER] = None
    random_erase: Annotated[RandomEraseConfig | None, NEVER] = None
    mixup: Annotated[MixupConfig | None, NEVER] = None
    cutmix: Annotated[CutMixConfig | None, NEVER] = None

    def check_fits(self, image_size: tuple[int, int], channels: int) -> None:
        """Refuse what the images are too small for, or have no colour for.

        Raises:
            PydanticCustomError: it does not fit.
        """
        crop, jitter = self.pad_crop, self.color_jitter
        if crop and crop.padding_mode == "reflect" and crop.padding >= min(image_size):
            raise broken("augment.pad_crop: padding must be below data.image_size to be reflected")
        if jitter and channels == 1 and (jitter.saturation or jitter.hue):
            raise broken("augment.color_jitter: saturation and hue need data.channels 3")
