"""mixup and cutmix: their arguments. Both need two images and their labels: see
`training.mixing`.
"""

from __future__ import annotations

from typing import Annotated

from cnn_cli.data.augment.technique import NEVER, TechniqueConfig
from cnn_cli.schema.fields import Above0, Share


class MixConfig(TechniqueConfig):
    """Two images in one, with both labels.

    Attributes:
        alpha: the share of the first image is drawn from Beta(alpha, alpha).
        p: fraction of the images that are mixed.
    """

    alpha: Above0 = 1.0
    p: Share = 1.0


class MixupConfig(MixConfig):
    """Blend two images and their labels (Zhang et al. 2017)."""


class CutMixConfig(MixConfig):
    """Paste a rectangle of a second image (Yun et al. 2019)."""


MixupKey = Annotated[MixupConfig | None, NEVER]
CutMixKey = Annotated[CutMixConfig | None, NEVER]
