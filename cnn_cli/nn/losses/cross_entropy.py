"""Softmax cross-entropy; its arithmetic is in `nn.loss`, because evaluation uses it too."""

from __future__ import annotations

from typing import ClassVar, Literal

from cnn_cli.nn.loss import CROSS_ENTROPY, Loss
from cnn_cli.nn.losses.base import LossConfig
from cnn_cli.nn.types import Array


class CrossEntropyConfig(LossConfig):
    """-log p of the image's class (as torch.nn.CrossEntropyLoss).

    Attributes:
        type: the loss's name.
    """

    listed: ClassVar = 1

    type: Literal["cross_entropy"] = "cross_entropy"

    def make(self, *, multiple: bool = False, weights: Array | None = None) -> Loss:
        return CROSS_ENTROPY
