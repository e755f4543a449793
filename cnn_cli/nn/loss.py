"""The loss: targets with label smoothing and class weights, and cross-entropy.

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
    """Return the targets, and the divisor of the summed loss.

    Label smoothing distributes `label_smoothing` of the target evenly over all classes (Szegedy et
    al. 2016, section 7). With class weights, the mean divides by the batch's sum of weights. Mixed
    images have probabilities as targets: class weights apply to the classes of a target, and the
    mean divides by the number of images. All of this equals torch.nn.CrossEntropyLoss.

    With several labels per image, each class has its own target, which smoothing moves towards 1/2
    (as Keras' BinaryCrossentropy); class weights are then applied in the loss, as they always are
    if `LossConfig.weighs_targets` is false.

    Args:
        labels: (n,) class numbers, or (n, classes) of 0 and 1.
        classes: number of classes.
        label_smoothing: from 0 to 1.
        class_weights: (classes,), or None for all 1; for labels of one class.
        partners: for mixed images: labels of the second images, and (n,) fractions from 0 to 1 of
            the first images' labels.
        dtype: dtype of the targets.

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
    """Return the divisor of a batch's summed losses, as in `target_weights`."""
    if class_weights is None or mixed or labels.ndim == 2:
        return float(max(len(labels), 1))
    total = float(class_weights[labels].sum(dtype=np.float64))
    return max(total, float(np.finfo(np.float32).tiny))


class Loss:
    """A loss per image, and its gradient; thread-safe."""

    def forward(self, logits: Array, targets: Array, losses: Array) -> None:
        """Compute each image's loss.

        Args:
            logits: (n, classes).
            targets: (n, classes), from `target_weights`.
            losses: (n,), written.
        """
        raise NotImplementedError

    def backward(self, logits: Array, targets: Array, divisor: float, dy: Array) -> None:
        """Compute the gradient of the summed losses divided by `divisor`.

        Args:
            logits, targets: (n, classes).
            divisor: the divisor.
            dy: (n, classes), written; may be `logits`.
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
        weights: (classes,) factors of -t·log p, PyTorch's `pos_weight`; None for 1.
        threshold: t above it counts as 1, others as 0; None to use t unchanged.
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
        """Return the factors of -log p and -log(1 - p)."""
        if self.threshold is not None:
            targets = (targets > self.threshold).astype(targets.dtype)
        absent = 1 - targets
        if self.weights is None:
            return targets, absent
        return targets * self.weights.astype(targets.dtype), absent


def softmax(logits: Array) -> Array:
    """Return probabilities (n, classes) of logits (n, classes); the maximum is subtracted for
    stability.
    """
    y: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    y /= y.sum(axis=1, keepdims=True)
    return y


def sigmoid(logits: Array) -> Array:
    """Return 1/(1 + exp(-logits)), with full relative precision for small results."""
    small = np.exp(-np.abs(logits))
    y: Array = np.where(logits < 0, small, 1) / (1 + small)
    return y


def softplus(logits: Array) -> Array:
    """Return log(1 + exp(logits)) = -log sigmoid(-logits)."""
    y: Array = np.maximum(logits, 0)
    y += np.log1p(np.exp(-np.abs(logits)))
    return y


def cross_entropy(logits: Array, targets: Array, losses: Array) -> None:
    """Compute each image's loss, -Σ targets·log softmax(logits).

    Args:
        logits: (n, classes).
        targets: (n, classes), from `target_weights`.
        losses: (n,), written.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    losses[:] = targets.sum(axis=1) * log_sum - np.einsum("nk,nk->n", targets, shifted)


def cross_entropy_gradient(logits: Array, targets: Array, divisor: float, dy: Array) -> None:
    """Compute the gradient of the summed losses: (softmax·Σ targets − targets)/divisor.

    Args:
        logits, targets: (n, classes).
        divisor: the divisor.
        dy: (n, classes), written; may be `logits`.
    """
    probabilities = softmax(logits)
    probabilities *= targets.sum(axis=1, keepdims=True)
    np.subtract(probabilities, targets, out=dy)
    dy /= divisor
