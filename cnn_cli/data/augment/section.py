"""The config's section `augment`: all techniques in their order of application, and the views of an
image for prediction.
"""

from __future__ import annotations

from typing import Annotated, get_args

from cnn_cli.data.augment.color import ColorJitterKey
from cnn_cli.data.augment.crop import RandomResizedCropKey
from cnn_cli.data.augment.erase import RandomEraseKey
from cnn_cli.data.augment.mix import CutMixKey, MixupKey
from cnn_cli.data.augment.place import HFlipKey, PadCropKey, VFlipKey
from cnn_cli.data.augment.rotate import RotateKey
from cnn_cli.data.augment.technique import NEVER, OfColors, TechniqueConfig
from cnn_cli.data.augment.trivial import TrivialAugmentKey
from cnn_cli.data.depth import Depth
from cnn_cli.data.views import TTA, TTAKind
from cnn_cli.errors import listed
from cnn_cli.schema.fields import Frozen, Must, broken


class AugmentConfig(Frozen):
    """Random changes to the training images, in the order in which they are applied; and `tta`.

    Attributes:
        random_resized_crop: a random part of the image; replaces `data.resize_mode`.
        hflip: fraction of the images mirrored left to right. `alternating` (arXiv:2404.00498)
            mirrors a random half in the first epoch, and the other half in the next, in turn.
        vflip: fraction of the images mirrored top to bottom.
        pad_crop: shift by a few pixels.
        trivialaugment: one of 14 operations with random strength (Müller and Hutter 2021, wide).
        rotate: rotate by up to this angle in degrees, to either side.
        color_jitter: random brightness, contrast, saturation and hue.
        random_erase: paint over a rectangle or a square.
        mixup: blend two images and their labels; with `cutmix` too, each image gets one of the two
            at random.
        cutmix: paste a rectangle of another image, and mix the labels; see `mixup`.
        tta: test-time augmentation: validation, and every prediction with the checkpoint, averages
            the scores of the image and its mirror image (`hflip`), of both, also shifted
            (`multicrop`), or of ten crops (`tencrop`).
    """

    random_resized_crop: RandomResizedCropKey = None
    hflip: HFlipKey = None
    vflip: VFlipKey = None
    pad_crop: PadCropKey = None
    trivialaugment: TrivialAugmentKey = None
    rotate: RotateKey = None
    color_jitter: ColorJitterKey = None
    random_erase: RandomEraseKey = None
    mixup: MixupKey = None
    cutmix: CutMixKey = None
    tta: Annotated[TTAKind | None, NEVER, Must(listed(["none", *TTA], last=" or "))] = None

    def check_fits(self, image_size: tuple[int, int], channels: int, depth: Depth) -> None:
        """Refuse techniques for which the images are too small or lack color.

        Raises:
            PydanticCustomError: a technique does not fit.
        """
        if depth != 8 or channels not in (1, 3):
            for key, field in type(self).model_fields.items():
                if getattr(self, key) and any(isinstance(x, OfColors) for x in field.metadata):
                    needs = "changes colors, which needs data.channels 1 or 3 and data.depth 8"
                    raise broken(f"augment.{key}: {needs}")
        for key in TECHNIQUES:
            technique: TechniqueConfig | None = getattr(self, key)
            rule = None if technique is None else technique.misfit(image_size, channels, depth)
            if rule is not None:
                raise broken(f"augment.{key}: {rule}")


TECHNIQUES: dict[str, type[TechniqueConfig]] = {
    key: model
    for key, field in AugmentConfig.model_fields.items()
    for model in get_args(field.annotation)
    if isinstance(model, type) and issubclass(model, TechniqueConfig)
}
"""The keys with arguments, and the models of these."""
