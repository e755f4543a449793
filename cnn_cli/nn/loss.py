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

    Args:
        labels: (n,) class numbers.
        class_weights: (classes,), or None for all 1.
        partners: of mixed images: (n,) class numbers of the second ones, and (n,) shares from 0
            to 1 of the first ones' labels.

    Returns:
        targets (n, classes) and the divisor, at least the smallest positive number.
    """
    n = len(labels)
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
    if class_weights is None or mixed:
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


def softmax(logits: Array) -> Array:
    """Probabilities (n, classes) of logits (n, classes), the largest subtracted for stability."""
    y: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    y /= y.sum(axis=1, keepdims=True)
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
