"""What training minimizes: targets with label smoothing and class weights, and cross-entropy.

Other losses are in `nn.losses`, one file each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.nn.types import Array


def target_weights(
    labels: Array,
    classes: int,
    *,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    partners: tuple[Array, Array] | None = None,
    dtype: DTypeLike = np.float32,
) -> tuple[Array, float]:
    """What each image's log-probabilities are multiplied with, and what the sum is divided by.

    Smoothing moves `label_smoothing` of the target evenly over all classes (Szegedy et al. 2016,
    section 7); with class weights the mean divides by the batch's sum of weights. Both are as in
    torch.nn.CrossEntropyLoss. So are mixed images, whose targets are probabilities: there, class
    weights weigh the classes of a target, and the mean divides by the number of images.

    Where images have several labels, each class has a target of its own, which smoothing moves
    towards 1/2 (as Keras' BinaryCrossentropy); class weights are the loss's then, as they always
    are where `LossConfig.weighs_targets` says so.

    Args:
        labels: (n,) class numbers, or (n, classes) 0 and 1.
        class_weights: (classes,), or None for all 1, of labels of one class.
        partners: of mixed images: labels of the second ones, and (n,) shares from 0 to 1 of the
            first ones' labels.

    Returns:
        targets (n, classes) and the divisor, at least the smallest positive number.
    """
    n = len(labels)
    if labels.ndim == 2:
        targets = labels.astype(dtype)
        if partners is not None:
            others, ratios = partners
            targets += (1 - ratios.astype(dtype))[:, None] * (others.astype(dtype) - targets)
        if label_smoothing:
            targets *= 1 - label_smoothing
            targets += label_smoothing / 2
        return targets, float(max(n, 1))
    targets = np.full((n, classes), label_smoothing / classes, dtype)
    if partners is None:
        targets[np.arange(n), labels] += 1 - label_smoothing
    else:
        others, ratios = partners
        targets[np.arange(n), labels] += (1 - label_smoothing) * ratios
        targets[np.arange(n), others] += (1 - label_smoothing) * (1 - ratios)
    if class_weights is not None:
        targets *= class_weights.astype(dtype)
    return targets, mean_divisor(labels, class_weights, mixed=partners is not None)


def mean_divisor(labels: Array, class_weights: Array | None, *, mixed: bool) -> float:
    """What the sum of a batch's losses is divided by: the divisor of `target_weights`."""
    if class_weights is None or mixed or labels.ndim == 2:
        return float(max(len(labels), 1))
    total = float(class_weights[labels].sum(dtype=np.float64))
    return max(total, float(np.finfo(np.float32).tiny))


class Loss:
    """A number for each image, and its gradient; both may be asked for by several threads."""

    def forward(self, logits: Array, targets: Array, losses: Array) -> None:
        """Each image's loss.

        Args:
            logits: (n, classes).
            targets: (n, classes), of `target_weights`.
            losses: (n,), written.
        """
        raise NotImplementedError

    def backward(self, logits: Array, targets: Array, divisor: float, dy: Array) -> None:
        """The gradient of the summed losses over `divisor`.

        Args:
            logits, targets: (n, classes).
            dy: (n, classes), written; may be `logits` itself.
        """
        raise NotImplementedError


class CrossEntropy(Loss):
    """-Σ targets·log softmax(logits), as torch.nn.CrossEntropyLoss."""

    def forward(self, logits: Array, targets: Array, losses: Array) -> None:
        cross_entropy(logits, targets, losses)

    def backward(self, logits: Array, targets: Array, divisor: float, dy: Array) -> None:
        cross_entropy_gradient(logits, targets, divisor, dy)


CROSS_ENTROPY = CrossEntropy()


class BinaryCrossEntropy(Loss):
    """The mean over classes of -t·log p - (1 - t)·log(1 - p), as torch.nn.BCEWithLogitsLoss.

    t are the targets, p = sigmoid(logits).

    Args:
        weights: (classes,) that -t·log p is multiplied with, PyTorch's `pos_weight`; None for 1.
        threshold: t above it is 1, any other 0; None for t as it is.
    """

    def __init__(self, weights: Array | None = None, threshold: float | None = None) -> None:
        self.weights = weights
        self.threshold = threshold

    def forward(self, logits: Array, targets: Array, losses: Array) -> None:
        present, absent = self._weighted(targets)
        terms = present * softplus(-logits)
        terms += absent * softplus(logits)
        losses[:] = terms.mean(axis=1)

    def backward(self, logits: Array, targets: Array, divisor: float, dy: Array) -> None:
        present, absent = self._weighted(targets)
        np.subtract(absent * sigmoid(logits), present * sigmoid(-logits), out=dy)
        dy /= divisor * logits.shape[1]

    def _weighted(self, targets: Array) -> tuple[Array, Array]:
        """How much -log p and -log(1 - p) count."""
        if self.threshold is not None:
            targets = (targets > self.threshold).astype(targets.dtype)
        absent = 1 - targets
        if self.weights is None:
            return targets, absent
        return targets * self.weights.astype(targets.dtype), absent


def softmax(logits: Array) -> Array:
    """Probabilities (n, classes) of logits (n, classes), the largest subtracted for stability."""
    y: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    y /= y.sum(axis=1, keepdims=True)
    return y


def sigmoid(logits: Array) -> Array:
    """1/(1 + exp(-logits)), to the type's precision also where it is small."""
    small = np.exp(-np.abs(logits))
    y: Array = np.where(logits < 0, small, 1) / (1 + small)
    return y


def softplus(logits: Array) -> Array:
    """log(1 + exp(logits)) = -log sigmoid(-logits)."""
    y: Array = np.maximum(logits, 0)
    y += np.log1p(np.exp(-np.abs(logits)))
    return y


def cross_entropy(logits: Array, targets: Array, losses: Array) -> None:
    """Each image's loss, -Σ targets·log softmax(logits).

    Args:
        logits: (n, classes).
        targets: (n, classes), of `target_weights`.
        losses: (n,), written.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    losses[:] = targets.sum(axis=1) * log_sum - np.einsum("nk,nk->n", targets, shifted)


def cross_entropy_gradient(logits: Array, targets: Array, divisor: float, dy: Array) -> None:
    """The gradient of the summed losses over `divisor`: (softmax·Σ targets − targets)/divisor.

    Args:
        logits, targets: (n, classes).
        dy: (n, classes), written; may be `logits` itself.
    """
    probabilities = softmax(logits)
    probabilities *= targets.sum(axis=1, keepdims=True)
    np.subtract(probabilities, targets, out=dy)
    dy /= divisor
