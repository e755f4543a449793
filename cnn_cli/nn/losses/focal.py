"""Focal loss (Lin et al. 2017), which gives well-classified images less weight."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from cnn_cli.nn.loss import Loss, sigmoid, softplus
from cnn_cli.nn.losses.base import LossConfig
from cnn_cli.nn.types import Array
from cnn_cli.schema.fields import NotBelow0, Share, broken


class FocalConfig(LossConfig):
    """-(1 - p)^gamma log p of the image's class, or of each class's answer (Lin et al. 2017).

    Attributes:
        type: the loss's name.
        gamma: the larger it is, the less an image counts whose class already has a high
            probability; 0 is cross-entropy, or bce.
        alpha: if data.labels is multiple, the weight of labels that an image has; the others weigh
            1 - alpha. The paper uses 0.25; by default all weigh 1.
    """

    listed: ClassVar = 3
    labels: ClassVar = ("single", "multiple")

    type: Literal["focal"] = "focal"
    gamma: NotBelow0 = 2.0
    alpha: Share | None = None

    def check_labels(self, labels: str) -> None:
        if labels == "single" and self.alpha is not None:
            rule = (
                "train.loss.alpha is for data.labels multiple; train.class_weights weighs classes"
            )
            raise broken(rule)

    def make(self, *, multiple: bool = False, weights: Array | None = None) -> Loss:
        return (
            SigmoidFocal(self.gamma, self.alpha, weights) if multiple else SoftmaxFocal(self.gamma)
        )


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
        # If p is 1, log p is 0 and so is the first term, also for γ below 1.
        slopes = self.gamma * np.maximum(rest, np.finfo(rest.dtype).tiny) ** (self.gamma - 1)
        slopes *= p * log_p
        slopes -= rest**self.gamma
        slopes *= targets
        np.subtract(slopes, p * slopes.sum(axis=1, keepdims=True), out=dy)
        dy /= divisor


class SigmoidFocal(Loss):
    """The mean over classes of (1 - p)^γ·-log p for target 1, and p^γ·-log(1 - p) for target 0.

    For targets between, from mixing and smoothing, it is their weighted mean, as for cross-entropy.
    p = sigmoid(logits).

    Args:
        gamma, alpha: as in `FocalConfig`.
        weights: (classes,) weights of present labels; None for all 1.
    """

    def __init__(self, gamma: float, alpha: float | None, weights: Array | None) -> None:
        self.gamma = gamma
        self.present, self.absent = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
        self.weights = weights

    def forward(self, logits: Array, targets: Array, losses: Array) -> None:
        p, q = sigmoid(logits), sigmoid(-logits)
        present, absent = self._weighted(targets)
        present *= q**self.gamma * softplus(-logits)
        absent *= p**self.gamma * softplus(logits)
        losses[:] = (present + absent).mean(axis=1)

    def backward(self, logits: Array, targets: Array, divisor: float, dy: Array) -> None:
        """With q = 1 - p: p^γ·(γ·q·-log q + p) for target 0, and the reverse for target 1."""
        p, q = sigmoid(logits), sigmoid(-logits)
        present, absent = self._weighted(targets)
        present *= q**self.gamma * (self.gamma * p * softplus(-logits) + q)
        absent *= p**self.gamma * (self.gamma * q * softplus(logits) + p)
        np.subtract(absent, present, out=dy)
        dy /= divisor * logits.shape[1]

    def _weighted(self, targets: Array) -> tuple[Array, Array]:
        """Return the weights of the terms for present and for absent labels."""
        present, absent = self.present * targets, self.absent * (1 - targets)
        if self.weights is not None:
            present *= self.weights.astype(targets.dtype)
        return present, absent


def _log_softmax(logits: Array) -> Array:
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    np.minimum(shifted, 0, out=shifted)
    return shifted
