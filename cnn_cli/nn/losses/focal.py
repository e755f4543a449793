"""Focal loss (Lin et al. 2017): images that are classified well already count less."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from cnn_cli.nn.loss import Loss
from cnn_cli.nn.losses.base import LossConfig
from cnn_cli.nn.types import Array
from cnn_cli.schema.fields import NotBelow0


class FocalConfig(LossConfig):
    """-(1 - p)^gamma log p of the image's class (Lin et al. 2017).

    Attributes:
        type: which loss it is.
        gamma: the larger, the less counts an image whose class has a high probability already;
            0 is cross-entropy.
    """

    listed: ClassVar = 2

    type: Literal["focal"] = "focal"
    gamma: NotBelow0 = 2.0

    def make(self) -> Loss:
        return SoftmaxFocal(self.gamma)


class SoftmaxFocal(Loss):
    """-Σ targets·(1 - p)^γ·log p, p = softmax(logits)."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def forward(self, logits: Array, targets: Array, losses: Array) -> None:
        log_p = _log_softmax(logits)
        modulated = (-np.expm1(log_p)) ** self.gamma
        modulated *= log_p
        losses[:] = -np.einsum("nk,nk->n", targets, modulated)

    def backward(self, logits: Array, targets: Array, divisor: float, dy: Array) -> None:
        """With s = targets·(γ·p·(1 - p)^(γ-1)·log p - (1 - p)^γ): (s - p·Σ s)/divisor."""
        log_p = _log_softmax(logits)
        p, rest = np.exp(log_p), -np.expm1(log_p)
        # Where p is 1, log p is 0, and so is the first term: for γ below 1, too.
        slopes = self.gamma * np.maximum(rest, np.finfo(rest.dtype).tiny) ** (self.gamma - 1)
        slopes *= p * log_p
        slopes -= rest**self.gamma
        slopes *= targets
        np.subtract(slopes, p * slopes.sum(axis=1, keepdims=True), out=dy)
        dy /= divisor


def _log_softmax(logits: Array) -> Array:
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    np.minimum(shifted, 0, out=shifted)
    return shifted
