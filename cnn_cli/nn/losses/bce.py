"""Binary cross-entropy: each class separately, for one label or several labels per image."""

from __future__ import annotations

from typing import ClassVar, Literal

from cnn_cli.nn.loss import BinaryCrossEntropy, Loss
from cnn_cli.nn.losses.base import LossConfig
from cnn_cli.nn.types import Array
from cnn_cli.schema.fields import ShareBelow1


class BCEConfig(LossConfig):
    """The mean over classes of -log p or -log(1 - p) (as torch.nn.BCEWithLogitsLoss).

    Attributes:
        type: which loss it is.
        target_threshold: targets above it count as 1, others as 0: an image that is mixed from two
            is of both classes (as timm's, for Wightman et al. 2021). By default they count as they
            are.
    """

    listed: ClassVar = 2
    labels: ClassVar = ("single", "multiple")

    type: Literal["bce"] = "bce"
    target_threshold: ShareBelow1 | None = None

    def weighs_targets(self, *, multiple: bool) -> bool:
        return False  # they would weight the other classes by 1 - weight

    def make(self, *, multiple: bool = False, weights: Array | None = None) -> Loss:
        return BinaryCrossEntropy(weights, self.target_threshold)
