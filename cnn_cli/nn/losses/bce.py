"""Binary cross-entropy: each class on its own, for images of several labels."""

from __future__ import annotations

from typing import ClassVar, Literal

from cnn_cli.nn.loss import BinaryCrossEntropy, Loss
from cnn_cli.nn.losses.base import LossConfig
from cnn_cli.nn.types import Array


class BCEConfig(LossConfig):
    """The mean over classes of -log p or -log(1 - p) (as torch.nn.BCEWithLogitsLoss).

    Attributes:
        type: which loss it is.
    """

    listed: ClassVar = 2
    labels: ClassVar = ("multiple",)

    type: Literal["bce"] = "bce"

    def make(self, *, multiple: bool = False, weights: Array | None = None) -> Loss:
        return BinaryCrossEntropy(weights)
